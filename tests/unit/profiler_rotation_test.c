/* SPDX-License-Identifier: Apache-2.0
 *
 * Names that sort by time, and how a folder is kept bounded. Compiles the source in.
 */
#include "rotation.c"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* in this order */
#include <setjmp.h>

#include <cmocka.h>

static char base[64];

static const char *in_base(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", base, name);
    return path;
}

static void put(const char *name, size_t bytes)
{
    int fd = open(in_base(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
    close(fd);
}

static bool has(const char *name)
{
    return access(in_base(name), F_OK) == 0;
}

static void stamps_sort(void **state)
{
    char a[COPPER_STAMP + 1], b[COPPER_STAMP + 1];
    (void)state;
    cu__rotation_stamp(1792336523042, a);
    assert_string_equal(a, "20261018T151523.042Z");
    cu__rotation_stamp(1792336523999, b);
    assert_true(strcmp(a, b) < 0);
    cu__rotation_stamp(1792336524000, a);
    assert_true(strcmp(b, a) < 0);
    assert_int_equal(strlen(a), COPPER_STAMP);
}

static void folders_are_made(void **state)
{
    (void)state;
    assert_int_equal(cu__rotation_make_folder(in_base("a/b//c/")), 0);
    assert_int_equal(cu__rotation_make_folder(in_base("a/b/c")), 0);
    assert_true(has("a/b/c"));
    put("file", 0);
    assert_int_equal(cu__rotation_make_folder(in_base("file/x")), -ENOTDIR);
    assert_int_equal(cu__rotation_trim(in_base("none"), 1, 1, ""), -ENOENT);
    unlink(in_base("file"));
    rmdir(in_base("a/b/c"));
    rmdir(in_base("a/b"));
    rmdir(in_base("a"));
}

#define OLDEST "20260101T000000.000Z-p-1-cpu.pb.gz"
#define MIDDLE "20260101T000000.001Z-p-1-cpu.pb.gz"
#define LATER  "20260102T000000.000Z-q-2-heap.pb.gz"
#define NEWEST "20260103T000000.000Z"

static void the_oldest_go(void **state)
{
    static const char *const others[] = {"x", "20260101T000000.000Z", "20260101T000000-a.pb.gz",
                                         "20260101T000000.000Z-p-1-cpu.txt", ".pb.gz"};
    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        put(others[i], 100000);
    }
    put(OLDEST, 10);
    put(MIDDLE ".77.1.tmp", 10); /* of one that was killed */
    put(LATER, 10);
    put(NEWEST "-p-1-cpu.pb.gz", 10);
    put(NEWEST "-p-1-heap.pb.gz", 10);
    assert_int_equal(cu__rotation_trim(base, 5, 50, NEWEST), 0);
    assert_int_equal(cu__rotation_trim(base, 4, 1000, NEWEST), 1);
    assert_false(has(OLDEST));
    assert_int_equal(cu__rotation_trim(base, 100, 30, NEWEST), 1);
    assert_false(has(MIDDLE ".77.1.tmp"));
    assert_true(has(LATER));
    assert_int_equal(cu__rotation_trim(base, 0, 0, NEWEST), 1); /* what was just written stays */
    assert_true(has(NEWEST "-p-1-cpu.pb.gz") && has(NEWEST "-p-1-heap.pb.gz"));
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_true(has(others[i]));
        unlink(in_base(others[i]));
    }
    assert_int_equal(cu__rotation_trim(base, 0, 0, "9"), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stamps_sort),
        cmocka_unit_test(folders_are_made),
        cmocka_unit_test(the_oldest_go),
    };
    strcpy(base, "/tmp/copper-rotation-XXXXXX");
    if (!mkdtemp(base)) {
        return 1;
    }
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    return rmdir(base) == 0 ? failures : 1;
}
