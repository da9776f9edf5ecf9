/* SPDX-License-Identifier: Apache-2.0
 *
 * Building profiles: what is interned, what ids come out, what is refused, what is repaired.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <copper/pprof.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct cu_pprof *new_profile(void)
{
    struct cu_pprof *p = cu_pprof_new();
    assert_non_null(p);
    cu_pprof_sample_type(p, "samples", "count");
    return p;
}

static uint32_t add_function(struct cu_pprof *p, const char *name)
{
    return cu_pprof_function(p, &(struct cu_pprof_function){.name = name, .filename = "a.c"});
}

static int add_sample(struct cu_pprof *p, const uint32_t *stack, size_t n, int64_t value,
                      struct cu_pprof_label *labels, size_t nlabels)
{
    return cu_pprof_sample(p, &(struct cu_pprof_sample){.locations = stack,
                                                        .nlocations = n,
                                                        .values = &value,
                                                        .labels = labels,
                                                        .nlabels = nlabels});
}

static void equal_things_are_one(void **state)
{
    (void)state;
    struct cu_pprof *p = new_profile();
    struct cu_pprof_mapping m = {.start = 1, .limit = 2, .filename = "/bin/x"};
    assert_int_equal(cu_pprof_mapping(p, &m), 1);
    assert_int_equal(cu_pprof_mapping(p, &m), 1);
    m.build_id = "";
    assert_int_equal(cu_pprof_mapping(p, &m), 1);
    m.build_id = "ab";
    assert_int_equal(cu_pprof_mapping(p, &m), 2);
    m.has_functions = true; /* flags are what is known of it, not what it is */
    assert_int_equal(cu_pprof_mapping(p, &m), 2);
    m.has_functions = false;
    m.has_line_numbers = true;
    assert_int_equal(cu_pprof_mapping(p, &m), 2);
    assert_true(cu_pprof_mapping_at(p, 2, &m));
    assert_true(m.has_functions && m.has_line_numbers && !m.has_filenames);

    assert_int_equal(add_function(p, "f"), 1);
    assert_int_equal(add_function(p, "g"), 2);
    assert_int_equal(add_function(p, "f"), 1);
    assert_int_equal(
        cu_pprof_function(
            p, &(struct cu_pprof_function){.name = "f", .system_name = "f", .filename = "a.c"}),
        1);
    assert_int_equal(
        cu_pprof_function(
            p, &(struct cu_pprof_function){.name = "f", .filename = "a.c", .start_line = 3}),
        3);

    struct cu_pprof_line lines[] = {{1, 10}, {2, 20}};
    assert_int_equal(cu_pprof_location(p, 1, 0x10, lines, 2), 1);
    assert_int_equal(cu_pprof_location(p, 1, 0x10, lines, 1), 2);
    assert_int_equal(cu_pprof_location(p, 0, 0x10, NULL, 0), 3);
    assert_int_equal(cu_pprof_location(p, 1, 0x10, lines, 2), 1);
    lines[1].line = 21;
    assert_int_equal(cu_pprof_location(p, 1, 0x10, lines, 2), 4);
    assert_int_equal(cu_pprof_nmappings(p), 2);
    assert_int_equal(cu_pprof_nfunctions(p), 3);
    assert_int_equal(cu_pprof_nlocations(p), 4);
    assert_int_equal(cu_pprof_error(p), 0);
    cu_pprof_free(p);
}

static void equal_samples_add_up(void **state)
{
    (void)state;
    struct cu_pprof *p = new_profile();
    uint32_t stack[] = {cu_pprof_location(p, 0, 1, NULL, 0), cu_pprof_location(p, 0, 2, NULL, 0)};
    struct cu_pprof_label ab[] = {{.key = "a", .str = "x"}, {.key = "b", .num = 2}};
    struct cu_pprof_label ba[] = {ab[1], ab[0]};
    assert_int_equal(add_sample(p, stack, 2, 1, ab, 2), 0);
    assert_int_equal(add_sample(p, stack, 2, 2, ba, 2), 0);
    assert_int_equal(add_sample(p, stack, 2, 4, ab, 1), 0);
    assert_int_equal(add_sample(p, stack, 1, 8, NULL, 0), 0);
    assert_int_equal(add_sample(p, NULL, 0, 16, NULL, 0), 0);
    assert_int_equal(add_sample(p, NULL, 0, INT64_MAX, NULL, 0), 0);
    assert_int_equal(cu_pprof_nsamples(p), 4);

    struct cu_pprof_sample s;
    struct cu_pprof_label labels[2];
    assert_int_equal(cu_pprof_sample_at(p, 0, &s, labels, 2), 2);
    assert_int_equal(s.values[0], 3);
    assert_int_equal(s.nlocations, 2);
    assert_int_equal(s.locations[1], stack[1]);
    assert_string_equal(labels[0].str, "x");
    assert_null(labels[1].str);
    assert_int_equal(labels[1].num, 2);
    assert_int_equal(cu_pprof_sample_at(p, 0, &s, labels, 1), 2);
    assert_int_equal(s.nlabels, 1);
    assert_int_equal(cu_pprof_sample_at(p, 3, &s, labels, 2), 0);
    assert_int_equal(s.nlocations, 0);
    assert_int_equal(s.values[0], INT64_MAX);
    assert_int_equal(cu_pprof_sample_at(p, 4, &s, labels, 2), 0);
    assert_null(s.values);
    cu_pprof_free(p);
}

static void labels_that_say_nothing(void **state)
{
    (void)state;
    struct cu_pprof *p = new_profile();
    struct cu_pprof_label given[] = {
        {.key = "empty", .str = ""}, {.key = "zero", .num = 0}, {.key = "zb", .unit = "bytes"}};
    assert_int_equal(add_sample(p, NULL, 0, 1, given, 3), 0);
    struct cu_pprof_sample s;
    struct cu_pprof_label labels[3];
    assert_int_equal(cu_pprof_sample_at(p, 0, &s, labels, 3), 2);
    assert_string_equal(labels[0].key, "zero");
    assert_string_equal(labels[0].unit, "zero");
    assert_string_equal(labels[1].unit, "bytes");
    given[0].key = "";
    assert_int_equal(add_sample(p, NULL, 0, 1, given, 1), -EINVAL);
    given[0].key = NULL;
    assert_int_equal(add_sample(p, NULL, 0, 1, given, 1), -EINVAL);
    assert_int_equal(cu_pprof_error(p), 0);
    cu_pprof_free(p);
}

static void unknown_ids_are_refused(void **state)
{
    (void)state;
    struct cu_pprof *p = cu_pprof_new();
    uint32_t none = 0, far = 7;
    assert_int_equal(add_sample(p, NULL, 0, 1, NULL, 0), -EINVAL); /* no type yet */
    cu_pprof_sample_type(p, "samples", "count");
    assert_int_equal(add_sample(p, &none, 1, 1, NULL, 0), -EINVAL);
    assert_int_equal(add_sample(p, &far, 1, 1, NULL, 0), -EINVAL);
    assert_int_equal(cu_pprof_error(p), 0);
    assert_int_equal(cu_pprof_location(p, 1, 1, NULL, 0), 0);
    assert_int_equal(cu_pprof_error(p), -EINVAL);
    assert_int_equal(add_sample(p, NULL, 0, 1, NULL, 0), -EINVAL);
    assert_int_equal(add_function(p, "f"), 0);
    cu_pprof_free(p);

    p = new_profile();
    assert_int_equal(cu_pprof_location(p, 0, 1, &(struct cu_pprof_line){1, 1}, 1), 0);
    assert_int_equal(cu_pprof_error(p), -EINVAL);
    cu_pprof_free(p);

    p = new_profile();
    cu_pprof_mapping_flags(p, 1, true, true, true, true);
    assert_int_equal(cu_pprof_error(p), -EINVAL);
    cu_pprof_free(p);

    p = new_profile();
    assert_int_equal(add_sample(p, NULL, 0, 1, NULL, 0), 0);
    cu_pprof_sample_type(p, "late", "count");
    assert_int_equal(cu_pprof_error(p), -EINVAL);
    cu_pprof_free(p);
    cu_pprof_free(NULL);
}

static void bad_utf8_is_replaced(void **state)
{
    (void)state;
    static const struct {
        const char *given, *kept;
    } cases[] = {
        {"plain", "plain"},
        {"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80", "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"a\xff"
         "b",
         "a\xef\xbf\xbd"
         "b"},
        {"\x80", "\xef\xbf\xbd"},                                 /* continuation alone */
        {"\xc3", "\xef\xbf\xbd"},                                 /* cut */
        {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},                 /* overlong */
        {"\xe0\x80\xaf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* overlong */
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* surrogate */
        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* too high */
        {"\xf0\x80\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xf5\x80\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xe2\x82"
         "x",
         "\xef\xbf\xbd\xef\xbf\xbdx"},
    };
    struct cu_pprof *p = new_profile();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t id = add_function(p, cases[i].given);
        struct cu_pprof_function f;
        assert_true(cu_pprof_function_at(p, id, &f));
        assert_string_equal(f.name, cases[i].kept);
    }
    cu_pprof_free(p);
}

static void what_was_built_can_be_seen(void **state)
{
    (void)state;
    struct cu_pprof *p = new_profile();
    const char *type, *unit;
    int64_t time, duration, period;
    cu_pprof_period(p, "cpu", "nanoseconds", 77);
    cu_pprof_time(p, 5, 6);
    cu_pprof_comment(p, "c");
    cu_pprof_sample_type_at(p, 0, &type, &unit);
    assert_string_equal(type, "samples");
    assert_string_equal(unit, "count");
    cu_pprof_sample_type_at(p, 1, &type, &unit);
    assert_string_equal(type, "");
    cu_pprof_period_type(p, &type, &unit);
    assert_string_equal(type, "cpu");
    assert_string_equal(unit, "nanoseconds");
    cu_pprof_times(p, &time, &duration, &period);
    assert_int_equal(time, 5);
    assert_int_equal(duration, 6);
    assert_int_equal(period, 77);
    period = 0;
    cu_pprof_times(p, NULL, NULL, &period);
    assert_int_equal(period, 77);
    cu_pprof_times(p, NULL, NULL, NULL);
    assert_int_equal(cu_pprof_ncomments(p), 1);
    assert_string_equal(cu_pprof_comment_at(p, 0), "c");
    assert_string_equal(cu_pprof_comment_at(p, 1), "");
    assert_int_equal(cu_pprof_nsample_types(p), 1);

    struct cu_pprof_mapping m = {.start = 1, .limit = 9, .offset = 3, .filename = "f"};
    uint32_t id = cu_pprof_mapping(p, &m), back;
    cu_pprof_mapping_flags(p, id, true, false, true, false);
    assert_true(cu_pprof_mapping_at(p, id, &m));
    assert_true(m.has_functions && !m.has_filenames && m.has_line_numbers && !m.has_inline_frames);
    assert_int_equal(m.limit, 9);
    assert_string_equal(m.build_id, "");
    uint64_t address;
    const struct cu_pprof_line *lines;
    size_t nlines;
    uint32_t location = cu_pprof_location(p, id, 0xabc, NULL, 0);
    assert_true(cu_pprof_location_at(p, location, &back, &address, &lines, &nlines));
    assert_int_equal(back, id);
    assert_int_equal(address, 0xabc);
    assert_int_equal(nlines, 0);
    struct cu_pprof_function f;
    assert_false(cu_pprof_mapping_at(p, 0, &m));
    assert_false(cu_pprof_mapping_at(p, 2, &m));
    assert_false(cu_pprof_function_at(p, 0, &f));
    assert_false(cu_pprof_function_at(p, 1, &f));
    assert_false(cu_pprof_location_at(p, 0, &back, &address, &lines, &nlines));
    assert_false(cu_pprof_location_at(p, 2, &back, &address, &lines, &nlines));
    cu_pprof_free(p);
}

static void many_of_each(void **state)
{
    (void)state;
    enum { MANY = 20000 };
    struct cu_pprof *p = new_profile();
    char name[32];
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < MANY; i++) {
            snprintf(name, sizeof name, "function_%u", i);
            uint32_t f = add_function(p, name);
            assert_int_equal(f, i + 1);
            uint32_t l = cu_pprof_location(p, 0, i, &(struct cu_pprof_line){f, 1}, 1);
            assert_int_equal(l, i + 1);
            assert_int_equal(add_sample(p, &l, 1, 1, NULL, 0), 0);
        }
    }
    assert_int_equal(cu_pprof_nsamples(p), MANY);
    struct cu_pprof_sample s;
    cu_pprof_sample_at(p, MANY - 1, &s, NULL, 0);
    assert_int_equal(s.values[0], 2);
    cu_pprof_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_things_are_one),
        cmocka_unit_test(equal_samples_add_up),
        cmocka_unit_test(labels_that_say_nothing),
        cmocka_unit_test(unknown_ids_are_refused),
        cmocka_unit_test(bad_utf8_is_replaced),
        cmocka_unit_test(what_was_built_can_be_seen),
        cmocka_unit_test(many_of_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
