/* SPDX-License-Identifier: Apache-2.0
 *
 * One kernel per way to strand a coroutine, and the report that it must get: how many, why, where,
 * on what. Beside each its repaired twin, which must be silent.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <copper/chan.h>
#include <copper/leakcheck.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What a stranded coroutine holds is lost on purpose here. */
__attribute__((visibility("default"))) const char *__lsan_default_options(void);
const char *__lsan_default_options(void)
{
    return "detect_leaks=0";
}

#define PATIENCE_NS (30 * COPPER_SEC) /* on a crowded machine; all but sleepers settle at once */

/* Runs a kernel in a coroutine of a scope and waits for its end; what is left afterwards. */
struct run {
    void (*kernel)(void);
    cu_chan *is_over;
};

static __attribute__((noinline)) void run_kernel(void *arg)
{
    struct run *run = arg;
    run->kernel();
    cu_chan_close(run->is_over);
}

static struct cu_leak_report *left_by(void (*kernel)(void), int64_t timeout_ns)
{
    const struct cu_leak_options quiet = {.size = sizeof quiet, .timeout_ns = timeout_ns, .fd = -1};
    struct run run = {kernel, cu_chan_new(0, 0)};
    struct cu_leak_report *report;
    cu_leak_scope *scope = cu_leak_scope_begin("pattern");
    assert_non_null(scope);
    assert_true(cu_go(run_kernel, &run) > 0);
    assert_int_equal(cu_recv(run.is_over, NULL), -EPIPE);
    int64_t found = cu_leak_find(scope, &quiet, &report);
    assert_true(found >= 0);
    assert_int_equal(found, report == NULL ? 0 : (int64_t)report->count);
    assert_int_equal(cu_leak_scope_end(scope, &quiet), found);
    cu_chan_unref(run.is_over);
    return report;
}

static void expect_clean(void (*kernel)(void))
{
    struct cu_leak_report *report = left_by(kernel, PATIENCE_NS);
    if (report != NULL)
        cu_leak_report_print(report, "expected nothing", NULL);
    assert_null(report);
}

/* One group, of `count` coroutines that wait for `reason` in function `top`. */
static struct cu_leak_group expect_group(void (*kernel)(void), uint64_t count,
                                         enum cu_wait_reason reason, const char *top)
{
    struct cu_leak_report *report = left_by(kernel, PATIENCE_NS);
    assert_non_null(report);
    if (report->ngroups != 1 || report->count != count)
        cu_leak_report_print(report, "expected one group", NULL);
    assert_int_equal(report->count, count);
    assert_int_equal(report->stranded, count);
    assert_int_equal(report->ngroups, 1);
    assert_true(report->is_settled);
    struct cu_leak_group group = report->groups[0];
    assert_int_equal(group.count, count);
    assert_int_equal(group.verdict, COPPER_LEAK_STRANDED);
    assert_int_equal(group.state, COPPER_G_WAITING);
    assert_string_equal(cu_wait_reason_text(group.reason), cu_wait_reason_text(reason));
    assert_string_equal(group.lines[0].function, top);
    assert_true(group.age_min_ns >= 0 && group.age_min_ns <= group.age_max_ns);
    assert_int_equal(group.nids, count < COPPER_LEAK_IDS_MAX ? count : COPPER_LEAK_IDS_MAX);
    cu_leak_report_free(report);
    return group;
}

static void expect_site(const struct cu_site *site, const char *function)
{
    assert_non_null(site);
    assert_string_equal(site->function, function);
    assert_true(strstr(site->file, "leakcheck_patterns_test.c") != NULL);
    assert_true(site->line > 0);
}

/* ---- early return: the parent gives up before it receives ------------------------------------ */

static void send_one(void *c)
{
    int v = 1;
    cu_send(c, &v);
    cu_chan_unref(c);
}

static void early_return(void)
{
    cu_chan *c = cu_chan_new(sizeof(int), 0);
    cu_go(send_one, c);
}

static void no_early_return(void)
{
    cu_chan *c = cu_chan_new(sizeof(int), 0);
    cu_go(send_one, cu_chan_ref(c));
    cu_recv(c, NULL);
    cu_chan_unref(c);
}

static void buffered_early_return(void)
{
    cu_go(send_one, cu_chan_new(sizeof(int), 1));
}

static void test_early_return(void **state)
{
    (void)state;
    struct cu_leak_group g = expect_group(early_return, 1, COPPER_WAIT_CHAN_SEND, "send_one");
    assert_int_equal(g.object.kind, COPPER_OBJECT_CHAN);
    assert_int_equal(g.object.cap, 0);
    expect_site(g.object.site, "early_return");
    expect_site(g.site, "early_return");
    assert_int_equal(g.site->line, g.object.site->line + 1);
    expect_clean(no_early_return);
    expect_clean(buffered_early_return);
}

/* ---- missing close: workers range over a channel that nobody closes -------------------------- */

static cu_chan *jobs;

static void range_over(void *c)
{
    while (cu_recv(c, NULL) == 0)
        ;
    cu_chan_unref(c);
}

static void give_jobs(void)
{
    jobs = cu_chan_new(sizeof(int), 0);
    cu_chan_name(jobs, "jobs");
    for (int i = 0; i < 12; i++)
        cu_go(range_over, cu_chan_ref(jobs));
    for (int i = 0; i < 30; i++)
        cu_send(jobs, &i);
}

static void missing_close(void)
{
    give_jobs();
}

static void with_close(void)
{
    give_jobs();
    cu_chan_close(jobs);
    cu_chan_unref(jobs);
}

static void test_missing_close(void **state)
{
    (void)state;
    struct cu_leak_group g = expect_group(missing_close, 12, COPPER_WAIT_CHAN_RECV, "range_over");
    assert_string_equal(g.object.name, "jobs");
    assert_false(g.has_many_objects);
    expect_site(g.site, "give_jobs");
    expect_clean(with_close);
}

/* ---- forgotten receivers and senders: n of them, one counterpart ----------------------------- */

static void n_cast(void)
{
    cu_chan *c = cu_chan_new(sizeof(int), 0);
    for (int i = 0; i < 5; i++)
        cu_go(send_one, cu_chan_ref(c));
    cu_recv(c, NULL);
}

static void receive_one(void *c)
{
    cu_recv(c, NULL);
}

static void forgotten_receiver(void)
{
    cu_chan *c = cu_chan_new(sizeof(int), 3);
    int v = 7;
    for (int i = 0; i < 3; i++)
        cu_go(receive_one, c);
    cu_send(c, &v);
}

static void send_twice(void *c)
{
    send_one(cu_chan_ref(c)); /* the error, and here it should have returned */
    send_one(c);
}

static void double_send(void)
{
    cu_chan *c = cu_chan_new(sizeof(int), 0);
    cu_go(send_twice, c);
    cu_recv(c, NULL);
}

static void test_forgotten(void **state)
{
    (void)state;
    expect_group(n_cast, 4, COPPER_WAIT_CHAN_SEND, "send_one");
    struct cu_leak_group g =
        expect_group(forgotten_receiver, 2, COPPER_WAIT_CHAN_RECV, "receive_one");
    assert_int_equal(g.object.cap, 3);
    expect_group(double_send, 1, COPPER_WAIT_CHAN_SEND, "send_one");
}

/* ---- nil channels ---------------------------------------------------------------------------- */

static void nil_receive(void)
{
    cu_go(receive_one, NULL);
}

static void send_to_nil(void *unused)
{
    (void)unused;
    cu_send(NULL, NULL);
}

static void nil_send(void)
{
    cu_go(send_to_nil, NULL);
}

static void test_nil(void **state)
{
    (void)state;
    struct cu_leak_group g = expect_group(nil_receive, 1, COPPER_WAIT_CHAN_RECV_NIL, "receive_one");
    assert_int_equal(g.object.kind, COPPER_OBJECT_NONE);
    expect_group(nil_send, 1, COPPER_WAIT_CHAN_SEND_NIL, "send_to_nil");
}

/* ---- locks ----------------------------------------------------------------------------------- */

static void lock_twice(void *unused)
{
    (void)unused;
    cu_mutex mu = {0};
    cu_mutex_lock(&mu);
    cu_mutex_lock(&mu);
}

static void double_lock(void)
{
    for (int i = 0; i < 40; i++)
        cu_go(lock_twice, NULL);
}

/* Two, because those who wait for the first do so to the end. */
static cu_mutex abandoned, passed_on;

static void lock_and_leave(void *unused)
{
    (void)unused;
    cu_mutex_lock(&abandoned);
}

static void lock_shared(void *mutex)
{
    cu_mutex_lock(mutex);
    cu_mutex_unlock(mutex);
}

static void owner_has_ended(void)
{
    cu_wg wg = {0};
    cu_wg_go(&wg, lock_and_leave, NULL);
    cu_wg_wait(&wg);
    for (int i = 0; i < 3; i++)
        cu_go(lock_shared, &abandoned);
}

static void lock_in_turn(void)
{
    cu_wg wg = {0};
    for (int i = 0; i < 50; i++)
        cu_wg_go(&wg, lock_shared, &passed_on);
    cu_wg_wait(&wg);
}

static void test_locks(void **state)
{
    (void)state;
    struct cu_leak_group g = expect_group(double_lock, 40, COPPER_WAIT_MUTEX_LOCK, "lock_twice");
    assert_int_equal(g.object.kind, COPPER_OBJECT_MUTEX);
    assert_true(g.has_many_objects);
    g = expect_group(owner_has_ended, 3, COPPER_WAIT_MUTEX_LOCK, "lock_shared");
    assert_false(g.has_many_objects);
    assert_ptr_equal(g.object.address, &abandoned);
    expect_clean(lock_in_turn);
}

/* AB-BA: two locks in opposite orders, each holder waiting for the other. */
static cu_mutex lock_a, lock_b;
static cu_chan *has_a, *has_b;

static void a_then_b(void *unused)
{
    (void)unused;
    cu_mutex_lock(&lock_a);
    cu_chan_close(has_a);
    cu_recv(has_b, NULL);
    cu_mutex_lock(&lock_b);
}

static void b_then_a(void *unused)
{
    (void)unused;
    cu_mutex_lock(&lock_b);
    cu_chan_close(has_b);
    cu_recv(has_a, NULL);
    cu_mutex_lock(&lock_a);
}

static void crossed_locks(void)
{
    memset(&lock_a, 0, sizeof lock_a);
    memset(&lock_b, 0, sizeof lock_b);
    has_a = cu_chan_new(0, 0), has_b = cu_chan_new(0, 0);
    cu_go(a_then_b, NULL);
    cu_go(b_then_a, NULL);
}

static void test_crossed_locks(void **state)
{
    (void)state;
    struct cu_leak_report *report = left_by(crossed_locks, PATIENCE_NS);
    assert_non_null(report);
    assert_int_equal(report->ngroups, 2);
    assert_int_equal(report->stranded, 2);
    const char *first = report->groups[0].lines[0].function;
    const char *second = report->groups[1].lines[0].function;
    assert_true((!strcmp(first, "a_then_b") && !strcmp(second, "b_then_a")) ||
                (!strcmp(first, "b_then_a") && !strcmp(second, "a_then_b")));
    cu_leak_report_free(report);
}

/* ---- wait groups ----------------------------------------------------------------------------- */

static void wait_for_never(void *unused)
{
    (void)unused;
    cu_wg wg = {0};
    cu_wg_add(&wg, 2);
    cu_wg_done(&wg);
    cu_wg_wait(&wg);
}

static void never_done(void)
{
    cu_go(wait_for_never, NULL);
}

/* The parent waits for its child before it receives what the child sends. */
static void wait_before_receive(void *unused)
{
    (void)unused;
    cu_wg wg = {0};
    cu_chan *c = cu_chan_new(sizeof(int), 0);
    cu_wg_go(&wg, send_one, cu_chan_ref(c));
    cu_wg_wait(&wg);
    cu_recv(c, NULL);
}

static void mixed(void)
{
    cu_go(wait_before_receive, NULL);
}

static void test_wait_groups(void **state)
{
    (void)state;
    struct cu_leak_group g = expect_group(never_done, 1, COPPER_WAIT_WG_WAIT, "wait_for_never");
    assert_int_equal(g.object.kind, COPPER_OBJECT_WG);
    assert_int_equal(g.object.count, 1);

    struct cu_leak_report *report = left_by(mixed, PATIENCE_NS);
    assert_non_null(report);
    assert_int_equal(report->ngroups, 2);
    for (size_t i = 0; i < 2; i++) {
        bool is_parent = report->groups[i].reason == COPPER_WAIT_WG_WAIT;
        assert_int_equal(report->groups[i].reason,
                         is_parent ? COPPER_WAIT_WG_WAIT : COPPER_WAIT_CHAN_SEND);
        assert_string_equal(report->groups[i].lines[0].function,
                            is_parent ? "wait_before_receive" : "send_one");
    }
    assert_int_not_equal(report->groups[0].reason, report->groups[1].reason);
    cu_leak_report_free(report);
}

/* ---- whole stacks, and what is no leak ------------------------------------------------------- */

static __attribute__((noinline)) int deep(cu_chan *c, int depth)
{
    int result = depth == 0 ? cu_recv(c, NULL) : deep(c, depth - 1);
    __asm__ volatile("" : "+r"(result)); /* no tail call */
    return result;
}

static void go_deep(void *c)
{
    deep(c, 5);
    __asm__ volatile("" ::: "memory"); /* no tail call */
}

static void deep_stack(void)
{
    cu_go(go_deep, cu_chan_new(0, 0));
}

static void test_stack(void **state)
{
    (void)state;
    struct cu_leak_report *report = left_by(deep_stack, PATIENCE_NS);
    assert_non_null(report);
    const struct cu_leak_group *g = &report->groups[0];
    size_t deeps = 0;
    while (deeps < g->nlines && strcmp(g->lines[deeps].function, "deep") == 0)
        deeps++;
    if (deeps != 6)
        cu_leak_report_print(report, "expected six times deep", NULL);
    assert_int_equal(deeps, 6);
    assert_int_equal(g->nlines, 7);
    assert_string_equal(g->lines[6].function, "go_deep");
    assert_true(strstr(g->lines[0].file, "leakcheck_patterns_test.c") != NULL);
    cu_leak_report_free(report);
}

static void serve(void *c)
{
    cu_recv(c, NULL);
}

static void daemon_waits(void)
{
    const struct cu_go_options options = {COPPER_GO_OPTIONS, .name = "server", .daemon = true};
    cu_go_with(serve, cu_chan_new(0, 0), &options);
}

static void sleep_a_little(void *unused)
{
    (void)unused;
    cu_sleep(20 * COPPER_MS);
}

static void ends_in_time(void)
{
    for (int i = 0; i < 10; i++)
        cu_go(sleep_a_little, NULL);
}

/* Woken by one that sleeps: at first sight it is parked for good. */
static void sleep_then_send(void *c)
{
    cu_sleep(20 * COPPER_MS);
    cu_send(c, NULL);
}

static void woken_late(void)
{
    cu_chan *c = cu_chan_new(0, 0);
    cu_go(serve, c);
    cu_go(sleep_then_send, c);
}

static void test_no_leak(void **state)
{
    (void)state;
    expect_clean(daemon_waits);
    expect_clean(ends_in_time);
    expect_clean(woken_late);
}

static void sleep_long(void *unused)
{
    (void)unused;
    cu_sleep(3600 * COPPER_SEC);
}

static void sleeps_on(void)
{
    cu_go(sleep_long, NULL);
}

/* Left behind, but not stranded: it will wake. */
static void test_sleeping(void **state)
{
    (void)state;
    struct cu_leak_report *report = left_by(sleeps_on, COPPER_SEC / 2);
    assert_non_null(report);
    assert_int_equal(report->count, 1);
    assert_int_equal(report->stranded, 0);
    assert_false(report->is_settled);
    assert_int_equal(report->groups[0].verdict, COPPER_LEAK_RUNNING);
    assert_int_equal(report->groups[0].reason, COPPER_WAIT_SLEEP);
    assert_string_equal(report->groups[0].lines[0].function, "sleep_long");
    cu_leak_report_free(report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_early_return), cmocka_unit_test(test_missing_close),
        cmocka_unit_test(test_forgotten),    cmocka_unit_test(test_nil),
        cmocka_unit_test(test_locks),        cmocka_unit_test(test_crossed_locks),
        cmocka_unit_test(test_wait_groups),  cmocka_unit_test(test_stack),
        cmocka_unit_test(test_no_leak),      cmocka_unit_test(test_sleeping),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
