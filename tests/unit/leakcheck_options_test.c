/* SPDX-License-Identifier: Apache-2.0
 *
 * What a check may be told to overlook, where its report goes, and what it does with nonsense.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <copper/chan.h>
#include <copper/leakcheck.h>
#include <copper/time.h>
#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What a stranded coroutine holds is lost on purpose here. */
__attribute__((visibility("default"))) const char *__lsan_default_options(void);
const char *__lsan_default_options(void)
{
    return "detect_leaks=0";
}

#define QUIET(...)                                                                                 \
    (const struct cu_leak_options)                                                                 \
    {                                                                                              \
        .size = sizeof(struct cu_leak_options), .timeout_ns = COPPER_SEC, .fd = -1, __VA_ARGS__    \
    }
#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static cu_chan *gate;

static __attribute__((noinline)) void innermost(void)
{
    cu_recv(gate, NULL);
    __asm__ volatile("" ::: "memory"); /* no tail call */
}

static __attribute__((noinline)) void outermost(void *unused)
{
    (void)unused;
    innermost();
    __asm__ volatile("" ::: "memory");
}

static void strand_one(void)
{
    cu_go(outermost, NULL);
}

/* A fresh gate for each test; opening it lets everybody go. */
static int make_gate(void **state)
{
    (void)state;
    gate = cu_chan_new(0, 0);
    return gate == NULL;
}

static int open_gate(void **state)
{
    (void)state;
    cu_chan_close(gate);
    const struct cu_leak_options options = QUIET();
    int64_t left = cu_leak_verify_none(&options);
    cu_chan_unref(gate);
    return left != 0;
}

static int64_t end_scope_of_one(struct cu_leak_options options)
{
    cu_leak_scope *scope = cu_leak_scope_begin("options");
    strand_one();
    return cu_leak_scope_end(scope, &options);
}

static void test_ignore_by_name(void **state)
{
    (void)state;
    assert_int_equal(end_scope_of_one(QUIET()), 1);
    assert_int_equal(end_scope_of_one(QUIET(.ignore_top = LIST("other", "innermost"))), 0);
    assert_int_equal(end_scope_of_one(QUIET(.ignore_top = LIST("outermost"))), 1);
    assert_int_equal(end_scope_of_one(QUIET(.ignore_top = LIST("inner"))), 1);
    assert_int_equal(end_scope_of_one(QUIET(.ignore_any = LIST("outermost"))), 0);
    assert_int_equal(end_scope_of_one(QUIET(.ignore_any = LIST("innermost"))), 0);
    assert_int_equal(end_scope_of_one(QUIET(.ignore_any = LIST("strand_one"))), 1);
    assert_int_equal(end_scope_of_one(QUIET(.ignore_created_by = LIST("strand_one"))), 0);
    assert_int_equal(end_scope_of_one(QUIET(.ignore_created_by = LIST("outermost"))), 1);
}

static void take_text(void *arg, const char *text, size_t n)
{
    char **out = arg;
    assert_null(*out); /* once */
    assert_int_equal(strlen(text), n);
    *out = strdup(text);
}

static int wait_in_library(const void *key, const void *element)
{
    (void)key, (void)element;
    cu_recv(gate, NULL);
    return 0;
}

/* Optimised, its last call is a jump: what the library is called by is not on the stack any more.
 */
static void ends_in_library(void *array)
{
    static size_t n = 1;
    lfind(array, array, &n, 1, wait_in_library);
}

static void test_entry_that_left_its_frame(void **state)
{
    (void)state;
    static char array[1];
    struct cu_leak_options any = QUIET(.ignore_any = LIST("ends_in_library"));
    for (int times = 1; times >= 0; times--) {
        char *text = NULL;
        struct cu_leak_options options = QUIET(.output = take_text, .output_arg = &text);
        cu_leak_scope *scope = cu_leak_scope_begin("entry");
        cu_go(ends_in_library, array);
        assert_int_equal(cu_leak_scope_end(scope, times ? &options : &any), times);
        assert_true(times == 0 || strstr(text, "ends_in_library") != NULL);
        free(text);
    }
}

static void test_ignore_current(void **state)
{
    (void)state;
    const struct cu_leak_options quiet = QUIET();
    strand_one();
    strand_one();
    cu_sleep(COPPER_MS);
    assert_int_equal(cu_leak_verify_none(&quiet), 2);
    cu_leak_snapshot *before = cu_leak_snapshot_take();
    assert_non_null(before);
    const struct cu_leak_options since = QUIET(.ignore_current = before);
    assert_int_equal(cu_leak_verify_none(&since), 0);
    strand_one();
    struct cu_leak_report *report;
    assert_int_equal(cu_leak_find(NULL, &since, &report), 1);
    assert_int_equal(report->groups[0].nids, 1);
    cu_leak_report_free(report);
    cu_leak_snapshot_free(before);
    assert_int_equal(cu_leak_verify_none(&quiet), 3);
}

/* An empty snapshot, of nothing running, hides nothing. */
static void test_empty_snapshot(void **state)
{
    (void)state;
    cu_leak_snapshot *before = cu_leak_snapshot_take();
    strand_one();
    const struct cu_leak_options since = QUIET(.ignore_current = before);
    assert_int_equal(cu_leak_verify_none(&since), 1);
    cu_leak_snapshot_free(before);
    cu_leak_snapshot_free(NULL);
}

static void test_output(void **state)
{
    (void)state;
    char *text = NULL;
    assert_int_equal(end_scope_of_one(QUIET(.output = take_text, .output_arg = &text)), 1);
    assert_non_null(text);
    const char *first = "options: 1 coroutine stranded: chan receive on channel (cap 0, made at "
                        "leakcheck_options_test.c:";
    assert_memory_equal(text, first, strlen(first));
    const char *rest = strstr(text, "), innermost leakcheck_options_test.c:");
    assert_non_null(rest);
    assert_non_null(strstr(rest, ", spawned at leakcheck_options_test.c:"));
    assert_non_null(strstr(rest, "\n      waiting "));
    assert_non_null(strstr(rest, "\n      at  innermost "));
    assert_non_null(strstr(rest, "\n          outermost "));
    assert_non_null(strstr(rest, "\n      by  strand_one "));
    assert_null(strstr(rest, "cu_recv"));
    free(text);
}

static void test_fd(void **state)
{
    (void)state;
    int fds[2];
    char text[4096] = "";
    assert_int_equal(pipe(fds), 0);
    struct cu_leak_options options = QUIET();
    options.fd = fds[1];
    assert_int_equal(end_scope_of_one(options), 1);
    close(fds[1]);
    assert_true(read(fds[0], text, sizeof text - 1) > 0);
    close(fds[0]);
    assert_non_null(strstr(text, "options: 1 coroutine stranded: "));
}

static void test_nonsense(void **state)
{
    (void)state;
    struct cu_leak_options options = QUIET();
    options.size = 8;
    assert_int_equal(cu_leak_verify_none(&options), -EINVAL);
    options = QUIET();
    options.timeout_ns = -1;
    assert_int_equal(cu_leak_verify_none(&options), -EINVAL);
    options = QUIET();
    assert_int_equal(cu_leak_scope_end(NULL, &options), -ENOMEM);
    cu_leak_report_free(NULL);
}

/* Spawned at as many places as there are cases: as many groups. */
#define TIMES5(x)  x x x x x
#define TIMES25(x) TIMES5(TIMES5(x))

static void test_many_groups(void **state)
{
    (void)state;
    char *text = NULL;
    struct cu_leak_options options = QUIET(.output = take_text, .output_arg = &text);
    cu_leak_scope *scope = cu_leak_scope_begin("many");
    TIMES25(cu_go(outermost, NULL);)
    for (int i = 0; i < 3; i++)
        strand_one();
    assert_int_equal(cu_leak_scope_end(scope, &options), 28);
    assert_non_null(text);
    const char *head = "many: 28 coroutines stranded, 26 groups\n  3 x chan receive on channel ";
    assert_memory_equal(text, head, strlen(head));
    size_t lines = 0;
    for (const char *at = text; (at = strstr(at, " x chan receive")) != NULL; at++)
        lines++;
    assert_int_equal(lines, COPPER_LEAK_GROUPS_PRINTED);
    assert_non_null(strstr(text, "\n  ... and 6 more groups with 6 coroutines\n"));
    free(text);
}

int main(void)
{
#define GATED(f) cmocka_unit_test_setup_teardown(f, make_gate, open_gate)
    const struct CMUnitTest tests[] = {
        GATED(test_empty_snapshot),
        GATED(test_ignore_by_name),
        GATED(test_entry_that_left_its_frame),
        GATED(test_ignore_current),
        GATED(test_output),
        GATED(test_fd),
        GATED(test_nonsense),
        GATED(test_many_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
