/* SPDX-License-Identifier: Apache-2.0
 *
 * Merging and scaling: what adds up, what is refused, and laws that hold for random profiles.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <copper/pprof.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "pprof_bytes.h"

static uint64_t random_state;

static unsigned random_below(unsigned n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 33) % n;
}

/* A random profile over a small world, so that two of them share much. */
static struct cu_pprof *random_profile(void)
{
    char name[16];
    struct cu_pprof *p = cu_pprof_new();
    cu_pprof_sample_type(p, "samples", "count");
    cu_pprof_sample_type(p, "cpu", "nanoseconds");
    cu_pprof_period(p, "cpu", "nanoseconds", 1 + random_below(9));
    cu_pprof_time(p, 1 + random_below(1000), random_below(1000));
    for (unsigned i = 0, n = random_below(60); i < n; i++) {
        uint32_t stack[6];
        size_t depth = random_below(6), nlabels = random_below(3);
        for (size_t k = 0; k < depth; k++) {
            unsigned address = random_below(8);
            snprintf(name, sizeof name, "f%u", address / 2);
            uint32_t f = cu_pprof_function(p, &(struct cu_pprof_function){.name = name});
            uint32_t m = cu_pprof_mapping(
                p, &(struct cu_pprof_mapping){.start = address / 4 * 4, .filename = "/bin/x"});
            stack[k] = cu_pprof_location(p, m, address, &(struct cu_pprof_line){f, address}, 1);
        }
        snprintf(name, sizeof name, "v%u", random_below(2));
        struct cu_pprof_label labels[] = {{.key = "s", .str = name},
                                          {.key = "n", .num = random_below(2), .unit = "bytes"}};
        int64_t values[] = {(int64_t)random_below(9) - 4, (int64_t)random_below(1000)};
        cu_pprof_sample(p, &(struct cu_pprof_sample){stack, depth, values, labels, nlabels});
    }
    assert_int_equal(cu_pprof_error(p), 0);
    return p;
}

static struct cu_pprof *copy(const struct cu_pprof *p)
{
    struct cu_pprof *q = cu_pprof_new();
    assert_int_equal(cu_pprof_merge(q, p), 0);
    return q;
}

/* --- comparing by meaning ------------------------------------------------------------------ */

/* One sample as text without any id, so that profiles can be compared whatever their numbering. */
static void describe(const struct cu_pprof *p, size_t i, char *out, size_t size)
{
    struct cu_pprof_sample s;
    struct cu_pprof_label labels[2];
    size_t n = cu_pprof_sample_at(p, i, &s, labels, 2), used = 0;
    for (size_t k = 0; k < s.nlocations; k++) {
        uint32_t mapping;
        uint64_t address;
        const struct cu_pprof_line *lines;
        size_t nlines;
        struct cu_pprof_function f;
        struct cu_pprof_mapping m;
        assert_true(cu_pprof_location_at(p, s.locations[k], &mapping, &address, &lines, &nlines));
        assert_true(cu_pprof_function_at(p, lines[0].function, &f));
        assert_true(cu_pprof_mapping_at(p, mapping, &m));
        used += (size_t)snprintf(out + used, size - used, "%s:%d@%d+%d ", f.name,
                                 (int)lines[0].line, (int)address, (int)m.start);
    }
    bool swapped = n == 2 && strcmp(labels[0].key, "n") == 0;
    for (size_t k = 0; k < n; k++) {
        const struct cu_pprof_label *l = &labels[swapped ? n - 1 - k : k];
        used += (size_t)snprintf(out + used, size - used, "%s=%s%d%s ", l->key,
                                 l->str ? l->str : "", (int)l->num, l->unit);
    }
}

/* The values of the sample of that description; zeros when there is none. */
static void values_of(const struct cu_pprof *p, const char *description, int64_t values[2])
{
    char text[512] = "";
    struct cu_pprof_sample s;
    values[0] = values[1] = 0;
    for (size_t i = 0; i < cu_pprof_nsamples(p); i++) {
        *text = '\0';
        describe(p, i, text, sizeof text);
        if (strcmp(text, description) == 0) {
            cu_pprof_sample_at(p, i, &s, NULL, 0);
            memcpy(values, s.values, 2 * sizeof *values);
            return;
        }
    }
}

/* For each sample of any of the three: a * fa + b * fb == c. */
static void check_sum(const struct cu_pprof *a, int64_t fa, const struct cu_pprof *b, int64_t fb,
                      const struct cu_pprof *c)
{
    const struct cu_pprof *all[] = {a, b, c};
    for (int k = 0; k < 3; k++)
        for (size_t i = 0; i < cu_pprof_nsamples(all[k]); i++) {
            char text[512] = "";
            int64_t va[2], vb[2], vc[2];
            describe(all[k], i, text, sizeof text);
            values_of(a, text, va);
            values_of(b, text, vb);
            values_of(c, text, vc);
            assert_int_equal(va[0] * fa + vb[0] * fb, vc[0]);
            assert_int_equal(va[1] * fa + vb[1] * fb, vc[1]);
        }
}

static size_t written_size(const struct cu_pprof *p, struct bytes *b)
{
    assert_int_equal(cu_pprof_write(p, bytes_write, b), 0);
    return b->n;
}

/* --- laws ---------------------------------------------------------------------------------- */

static void merge_adds(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        random_state = seed * 0x9e3779b97f4a7c15u;
        struct cu_pprof *a = random_profile(), *b = random_profile();
        struct cu_pprof *ab = copy(a), *ba = copy(b);
        assert_int_equal(cu_pprof_merge(ab, b), 0);
        assert_int_equal(cu_pprof_merge(ba, a), 0);
        check_sum(a, 1, b, 1, ab);
        check_sum(a, 1, b, 1, ba);
        assert_int_equal(cu_pprof_nsamples(ab), cu_pprof_nsamples(ba));
        cu_pprof_free(a);
        cu_pprof_free(b);
        cu_pprof_free(ab);
        cu_pprof_free(ba);
    }
}

static void difference_with_itself_is_empty(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        random_state = seed * 0x9e3779b97f4a7c15u;
        struct cu_pprof *a = random_profile(), *minus = copy(a);
        cu_pprof_scale(minus, -1);
        check_sum(a, -1, a, 0, minus);
        assert_int_equal(cu_pprof_merge(minus, a), 0);
        cu_pprof_drop_zero(minus);
        assert_int_equal(cu_pprof_nsamples(minus), 0);
        /* and it can be used on */
        assert_int_equal(cu_pprof_merge(minus, a), 0);
        check_sum(a, 1, a, 0, minus);
        cu_pprof_free(a);
        cu_pprof_free(minus);
    }
}

static void merge_into_itself_doubles(void **state)
{
    (void)state;
    random_state = 4711;
    struct cu_pprof *a = random_profile(), *twice = copy(a);
    assert_int_equal(cu_pprof_merge(twice, twice), 0);
    check_sum(a, 2, a, 0, twice);
    cu_pprof_scale(twice, 0.5);
    check_sum(a, 1, a, 0, twice);
    cu_pprof_free(a);
    cu_pprof_free(twice);
}

/* Writing and reading back is the identity: the bytes of the second writing are those of the first.
 */
static void round_trip(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        random_state = seed * 0x9e3779b97f4a7c15u;
        struct bytes first = {0}, second = {0};
        struct cu_pprof *a = random_profile(), *b;
        char error[256];
        written_size(a, &first);
        assert_int_equal(cu_pprof_read(first.at, first.n, &b, error, sizeof error), 0);
        check_sum(a, 1, a, 0, b);
        assert_int_equal(written_size(b, &second), first.n);
        assert_memory_equal(first.at, second.at, first.n);
        cu_pprof_free(a);
        cu_pprof_free(b);
        bytes_free(&first);
        bytes_free(&second);
    }
}

/* --- single facts -------------------------------------------------------------------------- */

static void header_fields_merge(void **state)
{
    (void)state;
    struct cu_pprof *a = cu_pprof_new(), *b = cu_pprof_new();
    int64_t time, duration, period;
    for (int i = 0; i < 2; i++)
        cu_pprof_sample_type(i ? b : a, "n", "count");
    cu_pprof_comment(a, "one");
    cu_pprof_comment(b, "two");
    cu_pprof_comment(b, "one");
    cu_pprof_time(a, 0, 5);
    cu_pprof_time(b, 70, 6);
    cu_pprof_period(b, "n", "count", 9);
    assert_int_equal(cu_pprof_merge(a, b), 0);
    cu_pprof_times(a, &time, &duration, &period);
    assert_int_equal(time, 70); /* 0 was no time */
    assert_int_equal(duration, 11);
    assert_int_equal(period, 9);
    assert_int_equal(cu_pprof_ncomments(a), 2);
    cu_pprof_time(b, 60, INT64_MAX);
    assert_int_equal(cu_pprof_merge(a, b), 0);
    cu_pprof_times(a, &time, &duration, &period);
    assert_int_equal(time, 60);
    assert_int_equal(duration, INT64_MAX);
    cu_pprof_free(a);
    cu_pprof_free(b);
}

static struct cu_pprof *of_type(const char *type, const char *unit, const char *period)
{
    struct cu_pprof *p = cu_pprof_new();
    cu_pprof_sample_type(p, type, unit);
    if (period)
        cu_pprof_period(p, period, "count", 1);
    return p;
}

static void different_types_do_not_merge(void **state)
{
    (void)state;
    struct cu_pprof *base = of_type("n", "count", "n");
    struct cu_pprof *others[] = {of_type("m", "count", NULL), of_type("n", "bytes", NULL),
                                 of_type("n", "count", "other"), of_type("n", "count", "n")};
    cu_pprof_sample_type(others[3], "more", "count");
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_int_equal(cu_pprof_merge(base, others[i]), -EINVAL);
        assert_int_equal(cu_pprof_error(base), 0);
        cu_pprof_free(others[i]);
    }
    struct cu_pprof *broken = of_type("n", "count", NULL);
    cu_pprof_location(broken, 9, 1, NULL, 0);
    assert_int_equal(cu_pprof_merge(base, broken), -EINVAL);
    assert_int_equal(cu_pprof_merge(broken, base), -EINVAL);
    assert_int_equal(cu_pprof_error(base), 0);
    cu_pprof_free(broken);
    cu_pprof_free(base);
}

static int64_t scaled(int64_t value, double ratio)
{
    struct cu_pprof *p = of_type("n", "count", NULL);
    struct cu_pprof_sample s = {.values = &value};
    assert_int_equal(cu_pprof_sample(p, &s), 0);
    cu_pprof_scale(p, ratio);
    cu_pprof_sample_at(p, 0, &s, NULL, 0);
    int64_t result = s.values[0];
    cu_pprof_free(p);
    return result;
}

static void scale_rounds_and_stays_in_range(void **state)
{
    (void)state;
    assert_int_equal(scaled(3, 0.5), 2);
    assert_int_equal(scaled(5, 0.5), 2);
    assert_int_equal(scaled(-3, 0.5), -2);
    assert_int_equal(scaled(-5, 0.5), -2);
    assert_int_equal(scaled(7, 0), 0);
    assert_int_equal(scaled(INT64_MAX - 1, 1), INT64_MAX - 1);
    assert_int_equal(scaled(INT64_MAX, -1), -INT64_MAX);
    assert_int_equal(scaled(INT64_MIN, -1), INT64_MAX);
    assert_int_equal(scaled(INT64_MAX, 2), INT64_MAX);
    assert_int_equal(scaled(INT64_MIN, 2), INT64_MIN);
    struct cu_pprof *p = of_type("n", "count", NULL);
    cu_pprof_scale(p, NAN);
    assert_int_equal(cu_pprof_error(p), -EINVAL);
    cu_pprof_scale(p, 1);
    cu_pprof_drop_zero(p);
    cu_pprof_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merge_adds),
        cmocka_unit_test(difference_with_itself_is_empty),
        cmocka_unit_test(merge_into_itself_doubles),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(header_fields_merge),
        cmocka_unit_test(different_types_do_not_merge),
        cmocka_unit_test(scale_rounds_and_stays_in_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
