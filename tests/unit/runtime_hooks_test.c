/* SPDX-License-Identifier: Apache-2.0 */
#include <copper/chan.h>
#include <copper/hooks.h>
#include <copper/inspect.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "coroutine_body.h"

/* What a tool saw; counters are atomic. */
struct log {
    int64_t created, ready, running, parked, yielded, exited, contended;
    int64_t unknown; /* events of a coroutine that was never created */
    int64_t reasons[COPPER_WAIT_COUNT];
};

#define COUNT(field) __atomic_fetch_add(&((struct log *)tool)->field, 1, __ATOMIC_RELAXED)

static void created(void *tool, int64_t now, cu_id g, cu_id parent, const struct cu_site *site)
{
    (void)now, (void)parent, (void)site;
    COUNT(created);
    if (g <= 0) {
        COUNT(unknown);
    }
}

static void ready(void *tool, int64_t now, cu_id g, cu_id by)
{
    (void)now, (void)g, (void)by;
    COUNT(ready);
}

static void running(void *tool, int64_t now, const struct cu_resume *r)
{
    COUNT(running);
    if (r->size != sizeof(*r) || r->g <= 0 || r->p < 0 || r->p >= cu_maxprocs() ||
        r->cause >= COPPER_CAUSE_COUNT || r->ready_ns > now ||
        (r->parked_ns && (r->parked_ns > r->ready_ns || r->reason == COPPER_WAIT_NONE)) ||
        (r->regs.pc != 0) != (r->stack_hi != 0) ||
        (r->stack_hi && (r->regs.sp < r->stack_lo || r->regs.sp >= r->stack_hi))) {
        COUNT(unknown);
    }
}

static void parked(void *tool, int64_t now, cu_id g, int p, enum cu_wait_reason reason,
                   const void *object, int64_t deadline_ns)
{
    (void)now, (void)g, (void)p, (void)object, (void)deadline_ns;
    COUNT(parked);
    COUNT(reasons[reason]);
}

static void yielded(void *tool, int64_t now, cu_id g, int p)
{
    (void)now, (void)g, (void)p;
    COUNT(yielded);
}

static void exited(void *tool, int64_t now, cu_id g, int p)
{
    (void)now, (void)g, (void)p;
    COUNT(exited);
}

static void contended(void *tool, int64_t now, cu_id g, const void *object, int64_t waited_ns)
{
    (void)now, (void)g, (void)object;
    COUNT(contended);
    if (waited_ns < 2 * COPPER_MS) {
        COUNT(unknown);
    }
}

static const struct cu_hooks table = {.version = COPPER_HOOKS_VERSION,
                                      .size = sizeof(struct cu_hooks),
                                      .created = created,
                                      .ready = ready,
                                      .running = running,
                                      .parked = parked,
                                      .yielded = yielded,
                                      .exited = exited,
                                      .contended = contended};

static cu_mutex mutex;

static void lock_and_unlock(void *unused)
{
    (void)unused;
    cu_mutex_lock(&mutex);
    cu_mutex_unlock(&mutex);
}

static void sleep_a_little(void *unused)
{
    (void)unused;
    cu_sleep(COPPER_MS);
}

COROUTINE_TEST(events_arrive)
{
    struct log log = {0}, after;
    cu_wg wg = {0};
    expect(cu_hooks_attach(&table, &log) == 0);
    for (int i = 0; i < 10; i++) {
        cu_wg_go(&wg, sleep_a_little, NULL);
    }
    cu_wg_wait(&wg);
    cu_mutex_lock(&mutex);
    cu_wg_go(&wg, lock_and_unlock, NULL);
    cu_sleep(5 * COPPER_MS);
    cu_mutex_unlock(&mutex);
    cu_wg_wait(&wg);
    expect(cu_quiesce(0, 5 * COPPER_SEC) == 0);
    expect(cu_hooks_detach(&table, &log) == 0);
    after = log;
    expect(log.created == 11 && log.exited == 11 && log.unknown == 0);
    expect(log.reasons[COPPER_WAIT_SLEEP] == 11 && log.reasons[COPPER_WAIT_WG_WAIT] >= 1);
    expect(log.reasons[COPPER_WAIT_MUTEX_LOCK] == 1 && log.contended == 1);
    expect(log.parked == log.ready && log.running >= log.parked);
    cu_wg_go(&wg, sleep_a_little, NULL);
    cu_wg_wait(&wg);
    expect(memcmp(&after, &log, sizeof(log)) == 0); /* detached is detached */
    return 0;
}

static int64_t spin_end_ns;

static bool find_self_cpu(const struct cu_g_info *g, void *arg)
{
    if (g->id == cu_self()) {
        *(int64_t *)arg = g->cpu_ns;
    }
    return true;
}

COROUTINE_TEST(time_is_counted_while_attached)
{
    static const struct cu_hooks nothing = {.version = COPPER_HOOKS_VERSION,
                                            .size = sizeof(struct cu_hooks)};
    int64_t cpu_ns = -1;
    expect(cu_hooks_attach(&nothing, NULL) == 0);
    cu_sleep(COPPER_MS);
    for (spin_end_ns = cu_now() + 20 * COPPER_MS; cu_now() < spin_end_ns;) {
    }
    cu_sleep(COPPER_MS);
    cu_inspect_each(find_self_cpu, &cpu_ns);
    expect(cu_hooks_detach(&nothing, NULL) == 0);
    expect(cpu_ns >= 20 * COPPER_MS && cpu_ns < 10 * COPPER_SEC);
    return 0;
}

static void refusals(void **state)
{
    (void)state;
    struct cu_hooks wrong = table;
    wrong.version++;
    assert_int_equal(cu_hooks_attach(&wrong, NULL), -EINVAL);
    wrong = table;
    wrong.size++;
    assert_int_equal(cu_hooks_attach(&wrong, NULL), -EINVAL);
    wrong.size = 0;
    assert_int_equal(cu_hooks_attach(&wrong, NULL), -EINVAL);
    assert_int_equal(cu_hooks_detach(&table, NULL), -ENOENT);
    struct log logs[COPPER_HOOK_TABLES_MAX + 1];
    for (int i = 0; i < COPPER_HOOK_TABLES_MAX; i++) {
        assert_int_equal(cu_hooks_attach(&table, &logs[i]), 0);
    }
    assert_int_equal(cu_hooks_attach(&table, &logs[COPPER_HOOK_TABLES_MAX]), -ENOSPC);
    for (int i = 0; i < COPPER_HOOK_TABLES_MAX; i++) {
        assert_int_equal(cu_hooks_detach(&table, &logs[i]), 0);
    }
}

/* A tool that was compiled when the table ended earlier hears of what it knew. */
COROUTINE_TEST(older_tables_are_shorter)
{
    struct cu_hooks older = table;
    older.size = offsetof(struct cu_hooks, running);
    struct log log = {0};
    cu_wg wg = {0};
    expect(cu_hooks_attach(&older, &log) == 0);
    cu_wg_go(&wg, sleep_a_little, NULL);
    cu_wg_wait(&wg);
    expect(cu_hooks_detach(&older, &log) == 0);
    expect(log.created == 1 && log.ready > 0 && log.running == 0 && log.parked == 0);
    return 0;
}

static void yield_often(void *stop)
{
    while (!__atomic_load_n((int *)stop, __ATOMIC_RELAXED)) {
        cu_yield();
    }
}

/* The tool's memory is gone as soon as detach returns: events under way must be over. */
COROUTINE_TEST(detach_waits_for_events)
{
    int stop = 0;
    cu_wg wg = {0};
    for (int i = 0; i < 4; i++) {
        cu_wg_go(&wg, yield_often, &stop);
    }
    for (int i = 0; i < 300; i++) {
        struct log log = {0};
        expect(cu_hooks_attach(&table, &log) == 0);
        cu_yield();
        expect(cu_hooks_detach(&table, &log) == 0);
        struct log before = log;
        cu_yield();
        expect(memcmp(&before, &log, sizeof(log)) == 0);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    cu_wg_wait(&wg);
    return 0;
}

/* ---- waits ---- */

struct waits {
    int64_t begun, told, wrong;      /* for some reasons; atomic */
    int64_t stands_ns;               /* what those that were told stand for; atomic */
    enum cu_wait_reason first, last; /* these reasons */
};

static bool is_counted(const struct waits *w, enum cu_wait_reason reason)
{
    return reason >= w->first && reason <= w->last;
}

static void wait_begins(void *tool, int64_t now, cu_id g, int p, enum cu_wait_reason reason,
                        const void *object, int64_t deadline_ns)
{
    struct waits *w = tool;
    (void)now, (void)g, (void)p, (void)object, (void)deadline_ns;
    __atomic_fetch_add(&w->begun, is_counted(w, reason), __ATOMIC_RELAXED);
}

static void waited(void *tool, int64_t now, const struct cu_resume *r, int64_t waited_ns,
                   int64_t rate_ns)
{
    struct waits *w = tool;
    if (!is_counted(w, r->reason)) {
        return;
    }
    bool is_right = waited_ns > 0 && r->ready_ns <= now && r->regs.pc != 0 &&
                    r->ready_ns - r->parked_ns == waited_ns;
    __atomic_fetch_add(&w->told, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&w->wrong, !is_right, __ATOMIC_RELAXED);
    __atomic_fetch_add(&w->stands_ns, waited_ns < rate_ns ? rate_ns : waited_ns, __ATOMIC_RELAXED);
}

static const struct cu_hooks waits_table = {.version = COPPER_HOOKS_VERSION,
                                            .size = sizeof(struct cu_hooks),
                                            .parked = wait_begins,
                                            .waited = waited,
                                            .options = COPPER_HOOKS_NO_CPU_TIME};

static cu_chan *there, *back;

static void echo(void *unused)
{
    int64_t v;
    (void)unused;
    while (cu_recv(there, &v) == 0) {
        cu_send(back, &v);
    }
}

/* A round trip each; meanwhile other tables come and go, while the echo waits and while not. */
static bool make_trips(int n, struct log *others, struct waits *more)
{
    bool is_right = true;
    for (int64_t i = 0, v; i < n; i++) {
        if (i % 4 == 0) {
            is_right &= cu_hooks_attach(&table, others) == 0;
        }
        cu_send(there, &i);
        if (i % 4 == 1) {
            is_right &= cu_hooks_attach(&waits_table, more) == 0;
        }
        cu_recv(back, &v);
        if (i % 4 == 2) {
            is_right &= cu_hooks_detach(&table, others) == 0;
        } else if (i % 4 == 3) {
            is_right &= cu_hooks_detach(&waits_table, more) == 0;
        }
    }
    return is_right;
}

COROUTINE_TEST(waits_are_told_once_whoever_comes_and_goes)
{
    struct waits all = {.first = COPPER_WAIT_CHAN_RECV, .last = COPPER_WAIT_CHAN_SEND}, more = all;
    struct log others = {0};
    there = cu_chan_new(sizeof(int64_t), 0);
    back = cu_chan_new(sizeof(int64_t), 0);
    expect(cu_hooks_attach(&waits_table, &all) == 0);
    cu_go(echo, NULL);
    bool is_right = make_trips(2000, &others, &more);
    cu_chan_close(there);
    expect(cu_quiesce(0, 5 * COPPER_SEC) == 0);
    expect(cu_hooks_detach(&waits_table, &all) == 0);
    cu_chan_unref(there);
    cu_chan_unref(back);
    expect(is_right && all.begun > 1000 && all.told == all.begun && all.wrong == 0);
    expect(more.told > 0 && more.told < all.told && others.running > 0 && others.unknown == 0);
    return 0;
}

static void sleep_often(void *unused)
{
    (void)unused;
    for (int i = 0; i < 200; i++) {
        cu_sleep(200 * COPPER_US);
    }
}

/* What is told of short waits stands for all of them: within six deviations. */
COROUTINE_TEST(short_waits_are_told_in_proportion)
{
    struct waits all = {.first = COPPER_WAIT_SLEEP, .last = COPPER_WAIT_SLEEP}, some = all;
    cu_wg wg = {0};
    expect(cu_hooks_attach(&waits_table, &all) == 0 && cu_hooks_attach(&waits_table, &some) == 0);
    expect(cu_hooks_wait_rate(&waits_table, &some, 2 * COPPER_MS) == 0);
    expect(cu_hooks_wait_rate(&waits_table, &wg, 1) == -ENOENT);
    expect(cu_hooks_wait_rate(&waits_table, &some, -1) == -EINVAL);
    for (int i = 0; i < 20; i++) {
        cu_wg_go(&wg, sleep_often, NULL);
    }
    cu_wg_wait(&wg);
    expect(cu_hooks_detach(&waits_table, &some) == 0 && cu_hooks_detach(&waits_table, &all) == 0);
    expect(all.begun == 4000 && all.told == 4000 && all.wrong == 0 && some.wrong == 0);
    expect(some.told < all.told);
    double ratio = (double)some.stands_ns / (double)all.stands_ns;
    expect(ratio > 0.7 && ratio < 1.3);
    return 0;
}

COROUTINE_TEST(time_is_not_counted_for_who_does_without)
{
    int64_t before = -1, after = -1;
    struct waits w = {.first = COPPER_WAIT_SLEEP, .last = COPPER_WAIT_SLEEP};
    expect(cu_hooks_attach(&waits_table, &w) == 0);
    cu_inspect_each(find_self_cpu, &before);
    cu_sleep(COPPER_MS);
    for (spin_end_ns = cu_now() + COPPER_MS; cu_now() < spin_end_ns;) {
    }
    cu_sleep(COPPER_MS);
    cu_inspect_each(find_self_cpu, &after);
    expect(cu_hooks_detach(&waits_table, &w) == 0);
    expect(before == after && w.told == 2);
    return 0;
}

/* How many hooks began and ended; hooks that take their time. */
struct slow {
    int64_t begun, ended;
};

static void yielded_slowly(void *tool, int64_t now, cu_id g, int p)
{
    struct slow *slow = tool;
    (void)g, (void)p;
    __atomic_fetch_add(&slow->begun, 1, __ATOMIC_RELAXED);
    while (cu_now() < now + 20 * COPPER_US) {
    }
    __atomic_fetch_add(&slow->ended, 1, __ATOMIC_RELAXED);
}

/* From a plain thread, so that each P may be in a hook just then. */
static void detach_waits_for_slow_hooks(void **state)
{
    static const struct cu_hooks slow_table = {.version = COPPER_HOOKS_VERSION,
                                               .size = sizeof(struct cu_hooks),
                                               .yielded = yielded_slowly};
    int stop = 0;
    int64_t begun = 0;
    (void)state;
    for (int i = 0; i < 4; i++) {
        assert_true(cu_go(yield_often, &stop) > 0);
    }
    for (int i = 0; i < 300; i++) {
        struct slow slow = {0};
        assert_int_equal(cu_hooks_attach(&slow_table, &slow), 0);
        for (int64_t end = cu_now() + 100 * COPPER_US; cu_now() < end;) {
        }
        assert_int_equal(cu_hooks_detach(&slow_table, &slow), 0);
        int64_t now_begun = __atomic_load_n(&slow.begun, __ATOMIC_RELAXED);
        assert_int_equal(__atomic_load_n(&slow.ended, __ATOMIC_RELAXED), now_begun);
        begun += now_begun;
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    assert_int_equal(cu_quiesce(0, 5 * COPPER_SEC), 0);
    assert_true(begun > 0);
}

static void reasons_have_texts(void **state)
{
    (void)state;
    assert_string_equal(cu_wait_reason_text(COPPER_WAIT_NONE), "");
    assert_string_equal(cu_wait_reason_text(COPPER_WAIT_CHAN_SEND), "chan send");
    assert_string_equal(cu_wait_reason_text(COPPER_WAIT_COUNT), "unknown");
    assert_string_equal(cu_wait_reason_text((enum cu_wait_reason)1000), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_arrive),
        cmocka_unit_test(time_is_counted_while_attached),
        cmocka_unit_test(refusals),
        cmocka_unit_test(detach_waits_for_events),
        cmocka_unit_test(detach_waits_for_slow_hooks),
        cmocka_unit_test(reasons_have_texts),
        cmocka_unit_test(older_tables_are_shorter),
        cmocka_unit_test(waits_are_told_once_whoever_comes_and_goes),
        cmocka_unit_test(short_waits_are_told_in_proportion),
        cmocka_unit_test(time_is_not_counted_for_who_does_without),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
