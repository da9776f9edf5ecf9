/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading profiles: a known one, other writers' habits, and each defect with the line that names
 * it.
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

#include "pprof_bytes.h"

/* Two sample types, two stacked locations of which one is inlined, both kinds of label. */
static const char golden[] = "0a04080110020a0408031004121a080108021003108087a70e1a04080510061a07080"
                             "718802020081a1508011080a080"
                             "021880c080022080202809300a38012215080110011890a0800222040801100522040"
                             "8021009220f0802100118afa080"
                             "022204080310142a0a0801100b180b200c28042a0a0802100d180d200c28082a0a080"
                             "3100e180e200c2812488080a8b1"
                             "e39fe7cb17508094ebdc035a04080310046080ade2043200320773616d706c6573320"
                             "5636f756e743203637075320b6e"
                             "616e6f7365636f6e64733204636f726f320277373202737a3205627974657332062f6"
                             "2696e2f78320461626364320369"
                             "6e6c3203782e6332056f7574657232046d61696e";

static struct cu_pprof *read_ok(const struct bytes *b)
{
    struct cu_pprof *p;
    char error[256];
    int err = cu_pprof_read(b->at, b->n, &p, error, sizeof error);
    if (err)
        print_error("%s\n", error);
    assert_int_equal(err, 0);
    assert_string_equal(error, "");
    return p;
}

static void check_golden(const struct cu_pprof *p)
{
    const char *type, *unit;
    int64_t time, duration, period;
    cu_pprof_sample_type_at(p, 1, &type, &unit);
    assert_int_equal(cu_pprof_nsample_types(p), 2);
    assert_string_equal(type, "cpu");
    assert_string_equal(unit, "nanoseconds");
    cu_pprof_times(p, &time, &duration, &period);
    assert_int_equal(time, 1700000000000000000);
    assert_int_equal(duration, 1000000000);
    assert_int_equal(period, 10000000);

    struct cu_pprof_sample s;
    struct cu_pprof_label labels[2];
    assert_int_equal(cu_pprof_nsamples(p), 1);
    assert_int_equal(cu_pprof_sample_at(p, 0, &s, labels, 2), 2);
    assert_int_equal(s.nlocations, 2);
    assert_int_equal(s.values[0], 3);
    assert_int_equal(s.values[1], 30000000);
    assert_string_equal(labels[0].key, "coro");
    assert_string_equal(labels[0].str, "w7");
    assert_string_equal(labels[1].key, "sz");
    assert_int_equal(labels[1].num, 4096);
    assert_string_equal(labels[1].unit, "bytes");

    struct cu_pprof_mapping m;
    struct cu_pprof_function f;
    const struct cu_pprof_line *lines;
    uint32_t mapping;
    uint64_t address;
    size_t nlines;
    assert_true(cu_pprof_location_at(p, s.locations[0], &mapping, &address, &lines, &nlines));
    assert_int_equal(address, 0x401010);
    assert_int_equal(nlines, 2);
    assert_true(cu_pprof_function_at(p, lines[1].function, &f));
    assert_string_equal(f.name, "outer");
    assert_string_equal(f.filename, "x.c");
    assert_int_equal(f.start_line, 8);
    assert_int_equal(lines[1].line, 9);
    assert_true(cu_pprof_mapping_at(p, mapping, &m));
    assert_int_equal(m.start, 0x401000);
    assert_int_equal(m.limit, 0x402000);
    assert_int_equal(m.offset, 0x1000);
    assert_string_equal(m.filename, "/bin/x");
    assert_string_equal(m.build_id, "abcd");
    assert_true(m.has_functions && !m.has_filenames);
}

static void known_profile(void **state)
{
    (void)state;
    struct bytes plain = {0}, zipped = {0};
    bytes_hex(&plain, golden);
    assert_int_equal(plain.n, 260);
    struct cu_pprof *p = read_ok(&plain);
    check_golden(p);
    assert_int_equal(cu_pprof_write(p, bytes_write, &zipped), 0);
    cu_pprof_free(p);
    p = read_ok(&zipped);
    check_golden(p);
    cu_pprof_free(p);
    bytes_free(&plain);
    bytes_free(&zipped);
}

static void gzip_members_are_one_stream(void **state)
{
    (void)state;
    struct bytes plain = {0}, zipped = {0};
    bytes_hex(&plain, golden);
    bytes_gzip(&zipped, plain.at, 100);
    bytes_gzip(&zipped, NULL, 0);
    bytes_gzip(&zipped, plain.at + 100, plain.n - 100);
    struct cu_pprof *p = read_ok(&zipped);
    check_golden(p);
    cu_pprof_free(p);
    bytes_free(&plain);
    bytes_free(&zipped);
}

/* Each prefix of a profile is refused, plain or zipped, and never with an empty line. */
static void cut_anywhere(void **state)
{
    (void)state;
    struct bytes plain = {0}, zipped = {0};
    struct cu_pprof *p;
    char error[256];
    bytes_hex(&plain, golden);
    bytes_gzip(&zipped, plain.at, plain.n);
    for (size_t n = 0; n < zipped.n; n++) {
        assert_int_equal(cu_pprof_read(zipped.at, n, &p, error, sizeof error), -EBADMSG);
        assert_true(*error);
        assert_null(p);
    }
    for (size_t n = 0; n < plain.n; n++) {
        /* the strings come last: without one of them something is not in the table */
        assert_int_equal(cu_pprof_read(plain.at, n, &p, error, sizeof error), -EBADMSG);
        assert_true(*error);
    }
    bytes_free(&plain);
    bytes_free(&zipped);
}

/* Other writers: ids of any size, tables in any order, unpacked numbers, unknown fields, equal
 * things under two ids, duplicate samples. */
static void other_writers(void **state)
{
    (void)state;
    struct bytes b = {0};
    uint64_t huge = UINT64_MAX, large = 1u << 30;
    for (int i = 0; i < 2; i++)
        BYTES_MESSAGE(&b, 2, {1, huge}, {1, 5}, {2, 3}, {99, 1});
    BYTES_MESSAGE(&b, 2, {1, huge}, {1, 6}, {2, 4});
    BYTES_MESSAGE(&b, 4, {1, huge}, {2, large}, {3, 16});
    BYTES_MESSAGE(&b, 4, {1, 5}, {3, 32});
    BYTES_MESSAGE(&b, 4, {1, 6}, {3, 32}, {5, 1});
    BYTES_MESSAGE(&b, 3, {1, large}, {2, 1}, {3, 100});
    BYTES_MESSAGE(&b, 5, {1, 77}, {2, 1});
    bytes_number(&b, 1000, 7);           /* unknown number */
    bytes_text(&b, 20, "unknown bytes"); /* unknown bytes */
    bytes_add(&b,
              "\xa1\x01"
              "12345678",
              10); /* unknown fixed64, field 20 */
    bytes_add(&b,
              "\xa5\x01"
              "1234",
              6);            /* unknown fixed32 */
    bytes_number(&b, 13, 1); /* comments: alone, then packed */
    bytes_field(&b, 13, "\x01\x02", 2);
    bytes_text(&b, 6, "");
    bytes_text(&b, 6, "one");
    bytes_text(&b, 6, "bad \xff");
    bytes_number(&b, 7, 1);
    bytes_number(&b, 8, 1);
    bytes_number(&b, 14, 1);
    bytes_number(&b, 15, 1);
    BYTES_MESSAGE(&b, 1, {1, 1}, {2, 1});
    struct cu_pprof *p = read_ok(&b);
    struct cu_pprof_sample s;
    assert_int_equal(cu_pprof_nsamples(p), 1);
    assert_int_equal(cu_pprof_nlocations(p), 2);
    cu_pprof_sample_at(p, 0, &s, NULL, 0);
    assert_int_equal(s.values[0], 10);
    assert_int_equal(s.locations[0], 1);
    assert_int_equal(s.locations[1], 2);
    assert_int_equal(cu_pprof_ncomments(p), 3);
    assert_string_equal(cu_pprof_comment_at(p, 2), "bad \xef\xbf\xbd");
    cu_pprof_free(p);
    bytes_free(&b);
}

/* --- defects ------------------------------------------------------------------------------- */

static void refuse(const struct bytes *b, const char *expected)
{
    struct cu_pprof *p;
    char error[256], tiny[8];
    assert_int_equal(cu_pprof_read(b->at, b->n, &p, error, sizeof error), -EBADMSG);
    assert_string_equal(error, expected);
    assert_null(p);
    /* the line is cut to what room there is */
    assert_int_equal(cu_pprof_read(b->at, b->n, &p, tiny, sizeof tiny), -EBADMSG);
    assert_memory_equal(tiny, expected, sizeof tiny - 1);
    assert_int_equal(cu_pprof_read(b->at, b->n, &p, NULL, 0), -EBADMSG);
}

/* Strings "", a, b; one type; mapping 3, function 4, location 5. */
static struct bytes base(void)
{
    struct bytes b = {0};
    bytes_text(&b, 6, "");
    bytes_text(&b, 6, "a");
    bytes_text(&b, 6, "b");
    BYTES_MESSAGE(&b, 1, {1, 1}, {2, 2});
    BYTES_MESSAGE(&b, 3, {1, 3});
    BYTES_MESSAGE(&b, 5, {1, 4}, {2, 1});
    BYTES_MESSAGE(&b, 4, {1, 5}, {2, 3});
    return b;
}

static void refuse_with(unsigned field, const void *message, size_t n, const char *expected)
{
    struct bytes b = base();
    bytes_field(&b, field, message, n);
    refuse(&b, expected);
    bytes_free(&b);
}

static void refuse_bytes(const char *bytes, size_t n, const char *expected)
{
    refuse(&(struct bytes){.at = (unsigned char *)bytes, .n = n}, expected);
}
#define REFUSE_BYTES(text, expected) refuse_bytes(text, sizeof(text) - 1, expected)
#define REFUSE_WITH(field, message, expected)                                                      \
    refuse_with(field, message, sizeof(message) - 1, expected)

static void not_protobuf(void **state)
{
    (void)state;
    struct bytes b = {0};
    REFUSE_BYTES("", "empty input");
    bytes_gzip(&b, NULL, 0);
    refuse(&b, "empty input");
    bytes_free(&b);
    REFUSE_BYTES("<html>", "not a profile: byte 0: a field is of no known wire type");
    REFUSE_BYTES("\x32", "not a profile: byte 0: a number is cut short");
    REFUSE_BYTES("\x32\x02x", "not a profile: byte 0: a field is cut short");
    REFUSE_BYTES("\x32\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x",
                 "not a profile: byte 0: a field is cut short");
    REFUSE_BYTES("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
                 "not a profile: byte 0: a number is longer than 64 bits");
    REFUSE_BYTES("\x32\x00\xa1\x01"
                 "1234567",
                 "not a profile: byte 2: a field is cut short");
    REFUSE_BYTES("\x32\x00\xa5\x01"
                 "123",
                 "not a profile: byte 2: a field is cut short");
    REFUSE_BYTES("\x00\x00", "not a profile: byte 0: a field number is out of range");
    REFUSE_BYTES("\x80\x80\x80\x80\x10\x00",
                 "not a profile: byte 0: a field number is out of range");
    REFUSE_BYTES("\x30\x00", "not a profile: byte 0: string_table is of the wrong type");
    REFUSE_BYTES("\x32\x00\x61"
                 "12345678",
                 "not a profile: byte 2: period is of the wrong type");
    REFUSE_BYTES("\x1f\x8b", "gzip: ends in the middle");
    REFUSE_BYTES("\x1f\x8b"
                 "0123456789",
                 "gzip: unknown compression method");
}

static void bad_strings(void **state)
{
    (void)state;
    REFUSE_BYTES("\x60\x01", "there is no string table");
    REFUSE_BYTES("\x32\x01x", "string 0 is not empty");
    REFUSE_WITH(1, "\x08\x03", "sample_type 1: string 3 is not in the table of 3");
    REFUSE_WITH(1, "\x10\x03", "sample_type 1: string 3 is not in the table of 3");
    REFUSE_WITH(11, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                "period_type 1: string -1 is not in the table of 3");
    REFUSE_WITH(13, "\x02\x03", "comment 1: string 3 is not in the table of 3");
    REFUSE_WITH(13, "\x80", "comment at byte 32: a number is cut short");
    REFUSE_WITH(3, "\x08\x01\x28\x09", "mapping 1: string 9 is not in the table of 3");
    REFUSE_WITH(3, "\x08\x01\x30\x09", "mapping 1: string 9 is not in the table of 3");
    REFUSE_WITH(5, "\x08\x01\x10\x09", "function 1: string 9 is not in the table of 3");
    REFUSE_WITH(5, "\x08\x01\x18\x09", "function 1: string 9 is not in the table of 3");
    REFUSE_WITH(5, "\x08\x01\x20\x09", "function 1: string 9 is not in the table of 3");
    for (unsigned field = 7; field <= 15; field += field == 8 ? 6 : 1) {
        static const char *const names[] = {[7] = "drop_frames",
                                            [8] = "keep_frames",
                                            [14] = "default_sample_type",
                                            [15] = "doc_url"};
        char expected[80];
        struct bytes b = base();
        bytes_number(&b, field, 4);
        snprintf(expected, sizeof expected, "%s 0: string 4 is not in the table of 3",
                 names[field]);
        refuse(&b, expected);
        bytes_free(&b);
    }
}

static void bad_tables(void **state)
{
    (void)state;
    REFUSE_WITH(1, "\x09", "sample_type at byte 32 is malformed");
    REFUSE_WITH(3, "\x09", "mapping at byte 32 is malformed");
    REFUSE_WITH(5, "\x09", "function at byte 32 is malformed");
    REFUSE_WITH(4, "\x09", "location at byte 32 is malformed");
    REFUSE_WITH(3, "", "mapping at byte 32 has the id 0");
    REFUSE_WITH(5, "", "function at byte 32 has the id 0");
    REFUSE_WITH(4, "", "location at byte 32 has the id 0");
    REFUSE_WITH(3, "\x08\x03", "two mappings have the id 3");
    REFUSE_WITH(5, "\x08\x04", "two functions have the id 4");
    REFUSE_WITH(4, "\x08\x05", "two locations have the id 5");
    REFUSE_WITH(4, "\x08\x01\x10\x09", "location 1: mapping 9 is unknown");
    REFUSE_WITH(4, "\x08\x01\x22\x02\x08\x09", "location 1: function 9 is unknown");
    REFUSE_WITH(4, "\x08\x01\x22\x02\x10\x09", "location 1: function 0 is unknown");
}

static void bad_samples(void **state)
{
    (void)state;
    REFUSE_WITH(2, "\x09", "sample at byte 32 is malformed");
    REFUSE_WITH(2, "", "sample 0 has 0 values, there are 1 sample types");
    REFUSE_WITH(2, "\x12\x02\x01\x01", "sample 0 has 2 values, there are 1 sample types");
    REFUSE_WITH(2, "\x08\x06\x10\x01", "sample 0: location 6 is unknown");
    REFUSE_WITH(2, "\x08\x00\x10\x01", "sample 0: location 0 is unknown");
    REFUSE_WITH(2, "\x10\x01\x1a\x02\x08\x03",
                "key of a label of sample 0: string 3 is not in the table of 3");
    REFUSE_WITH(2, "\x10\x01\x1a\x04\x08\x01\x10\x03",
                "label of sample 0: string 3 is not in the table of 3");
    REFUSE_WITH(2, "\x10\x01\x1a\x04\x08\x01\x20\x03",
                "unit of a label of sample 0: string 3 is not in the table of 3");
    REFUSE_WITH(2, "\x10\x01\x1a\x02\x18\x03", "sample 0: a label has an empty key");
    REFUSE_WITH(2, "\x10\x01\x1a\x06\x08\x01\x10\x02\x18\x03",
                "sample 0: a label has a text and a number");
    struct bytes b = {0};
    bytes_text(&b, 6, "");
    BYTES_MESSAGE(&b, 2, {2, 1});
    refuse(&b, "there are samples but no sample types");
    bytes_free(&b);
    b = base();
    for (int i = 0; i < 3; i++)
        BYTES_MESSAGE(&b, 2, {1, 5}, {2, 1});
    BYTES_MESSAGE(&b, 2, {1, 17}, {2, 1});
    refuse(&b, "sample 3: location 17 is unknown");
    bytes_free(&b);
}

/* A label that says nothing is dropped, as all readers do. */
static void label_without_a_value(void **state)
{
    (void)state;
    struct bytes b = base();
    bytes_field(&b, 2, "\x10\x01\x1a\x02\x08\x01\x1a\x04\x08\x01\x20\x02", 12);
    struct cu_pprof *p = read_ok(&b);
    struct cu_pprof_sample s;
    struct cu_pprof_label label;
    assert_int_equal(cu_pprof_sample_at(p, 0, &s, &label, 1), 1);
    assert_int_equal(label.num, 0);
    assert_string_equal(label.unit, "b");
    cu_pprof_free(p);
    bytes_free(&b);
}

static void two_profiles(void **state)
{
    (void)state;
    struct bytes b = {0}, zipped = {0};
    bytes_hex(&b, golden);
    bytes_hex(&b, golden);
    refuse(&b, "two profiles, one behind the other: time_nanos is there twice");
    bytes_gzip(&zipped, b.at, b.n / 2);
    bytes_gzip(&zipped, b.at, b.n / 2);
    refuse(&zipped, "two profiles, one behind the other: time_nanos is there twice");
    bytes_free(&zipped);
    bytes_gzip(&zipped, b.at, b.n / 2);
    bytes_add(&zipped, "\0", 1);
    refuse(&zipped, "gzip: something else follows");
    bytes_free(&zipped);
    bytes_free(&b);
}

/* --- bombs --------------------------------------------------------------------------------- */

/* 256 KiB that unpack to more than a profile may have. */
static void gzip_bomb(void **state)
{
    (void)state;
    static const char zeros[1 << 20];
    struct bytes b = {0};
    struct cu_pprof *p;
    char error[256];
    struct cu_gzip *z = cu_gzip_open(bytes_write, &b);
    for (size_t n = 0; n <= COPPER_PPROF_BYTES_MAX; n += sizeof zeros)
        assert_int_equal(cu_gzip_write(z, zeros, sizeof zeros), 0);
    assert_int_equal(cu_gzip_close(z), 0);
    assert_true(b.n < COPPER_PPROF_BYTES_MAX / 100);
    assert_int_equal(cu_pprof_read(b.at, b.n, &p, error, sizeof error), -E2BIG);
    assert_string_equal(error, "gzip: unpacks to more than a profile may have");
    bytes_free(&b);
}

/* One sample of so many empty labels that its structures would take gigabytes. */
static void message_bomb(void **state)
{
    (void)state;
    enum { LABELS = 8 << 20 };
    struct bytes b = base(), labels = {0};
    struct cu_pprof *p;
    char error[256];
    for (int i = 0; i < LABELS; i++)
        bytes_add(&labels, "\x1a\x00", 2);
    bytes_field(&b, 2, labels.at, labels.n);
    assert_int_equal(cu_pprof_read(b.at, b.n, &p, error, sizeof error), -E2BIG);
    assert_string_equal(error, "sample at byte 35 takes too much memory");
    bytes_free(&b);
    bytes_free(&labels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_profile),
        cmocka_unit_test(gzip_members_are_one_stream),
        cmocka_unit_test(cut_anywhere),
        cmocka_unit_test(other_writers),
        cmocka_unit_test(not_protobuf),
        cmocka_unit_test(bad_strings),
        cmocka_unit_test(bad_tables),
        cmocka_unit_test(bad_samples),
        cmocka_unit_test(label_without_a_value),
        cmocka_unit_test(two_profiles),
        cmocka_unit_test(gzip_bomb),
        cmocka_unit_test(message_bomb),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
