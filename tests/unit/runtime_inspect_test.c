/* SPDX-License-Identifier: Apache-2.0 */
#include <copper/chan.h>
#include <copper/inspect.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "coroutine_body.h"
#include "sanitize.h"

/* The facts of one coroutine. */
struct search {
    cu_id id;
    bool found;
    struct cu_g_info info;
};

static bool match(const struct cu_g_info *g, void *arg)
{
    struct search *search = arg;
    if (g->id == search->id) {
        search->found = true;
        search->info = *g;
    }
    return !search->found;
}

static const struct cu_g_info *look_up(struct search *search, cu_id id)
{
    *search = (struct search){.id = id};
    cu_inspect_each(match, search);
    return search->found ? &search->info : NULL;
}

static cu_chan *chan;
static cu_mutex mutex;
static cu_wg wg;

static void on_chan(void *unused)
{
    (void)unused;
    cu_name_set("a name that is longer than thirty-one bytes");
    cu_recv(chan, NULL);
}

static void on_mutex(void *unused)
{
    (void)unused;
    cu_mutex_lock(&mutex);
    cu_mutex_unlock(&mutex);
}

static void on_wg(void *unused)
{
    (void)unused;
    cu_wg_wait(&wg);
}

static void asleep(void *unused)
{
    (void)unused;
    cu_sleep(30 * COPPER_MS);
}

static void asleep_for_long(void *unused)
{
    (void)unused;
    cu_sleep(500 * COPPER_MS);
}

COROUTINE_TEST(facts_of_waiting_ones)
{
    struct search search;
    const struct cu_g_info *g;
    int64_t before_ns = cu_now() - 20 * COPPER_MS; /* since_ns is as of the last kernel tick */
    chan = cu_chan_new(sizeof(int), 0);
    cu_chan_name(chan, "jobs");
    cu_mutex_lock(&mutex);
    cu_wg_add(&wg, 2);
    cu_id a = cu_go(on_chan, NULL), b = cu_go(on_mutex, NULL), c = cu_go(on_wg, NULL);
    uint32_t go_line = __LINE__ - 1;
    cu_id d = cu_go(asleep, NULL);
    expect(cu_quiesce(0, 5 * COPPER_SEC) == 0); /* d has woken and ended by then */
    expect(look_up(&search, d) == NULL);

    g = look_up(&search, a);
    expect(g && g->state == COPPER_G_WAITING && g->reason == COPPER_WAIT_CHAN_RECV);
    expect(g->object.kind == COPPER_OBJECT_CHAN && g->object.address == chan);
    expect(strcmp(g->object.name, "jobs") == 0 && g->object.cap == 0 && !g->object.is_closed);
    expect(g->object.site && strcmp(g->object.site->function, "facts_of_waiting_ones_body") == 0);
    expect(strcmp(g->name, "a name that is longer than thir") == 0);
    expect(g->parent == cu_self() && g->entry == on_chan && g->site && g->site->line == go_line);
    expect(g->since_ns >= before_ns && g->since_ns <= cu_now() && g->created_ns >= before_ns);
    expect(g->deadline_ns == 0 && !g->is_daemon && !g->is_main && g->scope == 0);
    expect(g->has_regs && g->is_started && g->regs.pc != 0);
    expect(g->stack_lo < g->regs.sp && g->regs.sp < g->stack_hi);

    g = look_up(&search, b);
    expect(g && g->reason == COPPER_WAIT_MUTEX_LOCK && g->object.owner == cu_self());
    g = look_up(&search, c);
    expect(g && g->reason == COPPER_WAIT_WG_WAIT && g->object.count == 2);
    g = look_up(&search, cu_self());
    expect(g && g->state == COPPER_G_RUNNING && g->is_main && !g->has_regs);

    cu_chan_close(chan);
    cu_mutex_unlock(&mutex);
    cu_wg_add(&wg, -2);
    expect(cu_quiesce(0, 5 * COPPER_SEC) == 0);
    expect(look_up(&search, a) == NULL && look_up(&search, b) == NULL &&
           look_up(&search, c) == NULL);
    cu_chan_unref(chan);
    return 0;
}

static void never_run(void *unused)
{
    (void)unused;
}

static cu_chan *nothing;
static bool has_stopped; /* atomic */
static volatile int sink;

__attribute__((noinline)) static void stop(void)
{
    cu_recv(nothing, NULL);
    sink++;
}

static void stop_at_once(void *unused)
{
    (void)unused;
    stop();
}

static uint64_t count_handoffs(void)
{
    struct cu_runtime_stats stats = {.size = sizeof(stats)};
    uint64_t sum = 0;
    cu_runtime_stats_read(&stats);
    for (size_t i = 0; i < sizeof(stats.handoffs) / sizeof(stats.handoffs[0]); i++) {
        sum += stats.handoffs[i];
    }
    return sum;
}

/* Blocks its thread until its P was given to others. */
static void stop_without_a_p(void *unused)
{
    (void)unused;
    uint64_t before = count_handoffs();
    do {
        usleep(50000);
    } while (count_handoffs() == before);
    __atomic_store_n(&has_stopped, true, __ATOMIC_SEQ_CST);
    stop();
}

static void want_a_p(void *unused)
{
    (void)unused;
    while (!__atomic_load_n(&has_stopped, __ATOMIC_SEQ_CST)) {
        cu_yield();
    }
}

/* Profiles put those that wait at one place together, however they got there. */
COROUTINE_TEST(who_lost_its_p_stops_where_others_do)
{
    struct search one, other;
    nothing = cu_chan_new(0, 0);
    cu_id a = cu_go(stop_at_once, NULL), b = cu_go(stop_without_a_p, NULL);
    for (int i = 0; i < 8; i++) {
        cu_go(want_a_p, NULL);
    }
    expect(cu_quiesce(0, 60 * COPPER_SEC) == 0);
    expect(look_up(&one, a) && look_up(&other, b));
    expect(one.info.has_regs && other.info.has_regs);
    /* what sanitizers add keeps all frames of the runtime on the stack */
    expect(one.info.regs.pc == other.info.regs.pc || COPPER_WITH_ASAN || COPPER_WITH_TSAN);
    cu_chan_close(nothing);
    cu_chan_unref(nothing);
    expect(cu_quiesce(0, 60 * COPPER_SEC) == 0);
    return 0;
}

COROUTINE_TEST(facts_of_others)
{
    struct search search;
    struct cu_go_options options = {COPPER_GO_OPTIONS, .name = "server", .daemon = true};
    cu_id sleeper = cu_go_with(asleep_for_long, NULL, &options);
    const struct cu_g_info *g;
    while ((g = look_up(&search, sleeper)) != NULL && g->state != COPPER_G_WAITING) {
        cu_yield();
    }
    expect(g && g->reason == COPPER_WAIT_SLEEP && g->deadline_ns > cu_now() - COPPER_SEC);
    expect(g->is_daemon && strcmp(g->name, "server") == 0 && g->object.kind == COPPER_OBJECT_NONE);
    options.size = 1000;
    expect(cu_go_with(never_run, NULL, &options) == -EINVAL);
    options = (struct cu_go_options){COPPER_GO_OPTIONS, .stack_size = SIZE_MAX};
    expect(cu_go_with(never_run, NULL, &options) == -ENOMEM);
    expect(cu_quiesce(0, 5 * COPPER_SEC) == 0);
    return 0;
}

static void use_stack(void *result)
{
    volatile char large[3 << 20];
    struct cu_here here;
    large[0] = 1;
    large[sizeof(large) - 1] = 1;
    cu_inspect_here(&here);
    *(int *)result = here.kind == COPPER_HERE_COROUTINE && here.id == cu_self() &&
                     here.stack_hi - here.stack_lo == 4 << 20 && large[0] == 1;
}

COROUTINE_TEST(large_stacks)
{
    struct cu_go_options options = {COPPER_GO_OPTIONS, .stack_size = (4 << 20) - 5};
    for (int i = 0; i < 20; i++) { /* the stack is used again */
        int result = 0;
        expect(cu_go_with(use_stack, &result, &options) > 0);
        expect(cu_quiesce(0, 5 * COPPER_SEC) == 0);
        expect(result == 1);
    }
    return 0;
}

static void spawn_deep(void *arg)
{
    intptr_t depth = (intptr_t)arg;
    if (depth > 0) {
        cu_go(spawn_deep, (void *)(depth - 1));
    } else {
        cu_recv(chan, NULL);
    }
}

static bool count_scope(const struct cu_g_info *g, void *arg)
{
    uint64_t *scope_and_count = arg;
    scope_and_count[1] += g->scope == scope_and_count[0];
    return true;
}

COROUTINE_TEST(scopes_hold_descendants)
{
    uint64_t outer_before, inner_before;
    chan = cu_chan_new(0, 0);
    cu_id outside = cu_go(spawn_deep, (void *)0);
    uint64_t outer = cu_scope_enter(&outer_before);
    cu_go(spawn_deep, (void *)3);
    uint64_t inner = cu_scope_enter(&inner_before);
    cu_go(spawn_deep, (void *)5);
    expect(outer > 0 && inner > outer && inner_before == outer && outer_before == 0);
    expect(cu_quiesce(inner, 5 * COPPER_SEC) == 0);
    cu_scope_leave(inner_before);
    expect(cu_quiesce(outer, 5 * COPPER_SEC) == 0);
    cu_scope_leave(outer_before);
    uint64_t counts[2] = {inner, 0};
    cu_inspect_each(count_scope, counts);
    expect(counts[1] == 1);
    counts[0] = outer;
    counts[1] = 0;
    cu_inspect_each(count_scope, counts);
    expect(counts[1] == 1 && outside > 0);
    cu_chan_close(chan);
    expect(cu_quiesce(0, 5 * COPPER_SEC) == 0 && cu_quiesce(inner, 0) == 0);
    cu_chan_unref(chan);
    return 0;
}

static void yield_until_stopped(void *stop)
{
    while (!__atomic_load_n((int *)stop, __ATOMIC_RELAXED)) {
        cu_yield();
    }
}

COROUTINE_TEST(quiesce_times_out)
{
    int stop = 0;
    uint64_t before, scope = cu_scope_enter(&before);
    cu_wg done = {0};
    cu_wg_go(&done, yield_until_stopped, &stop);
    expect(cu_quiesce(scope, 20 * COPPER_MS) == -ETIMEDOUT);
    expect(cu_quiesce(0, 20 * COPPER_MS) == -ETIMEDOUT);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    expect(cu_quiesce(scope, 5 * COPPER_SEC) == 0);
    cu_wg_wait(&done);
    cu_scope_leave(before);
    return 0;
}

static void from_a_plain_thread(void **state)
{
    (void)state;
    struct cu_here here;
    uint64_t before, scope = cu_scope_enter(&before);
    int stop = 0;
    cu_wg done = {0};
    cu_inspect_here(&here);
    assert_int_equal(here.kind, COPPER_HERE_THREAD);
    assert_int_equal(here.id, 0);
    cu_wg_go(&done, yield_until_stopped, &stop);
    assert_int_equal(cu_quiesce(scope, 20 * COPPER_MS), -ETIMEDOUT);
    assert_int_equal(cu_quiesce(0, 20 * COPPER_MS), -ETIMEDOUT);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    assert_int_equal(cu_quiesce(scope, 5 * COPPER_SEC), 0);
    assert_int_equal(cu_quiesce(0, 5 * COPPER_SEC), 0);
    cu_scope_leave(before);
    cu_wg_wait(&done);
}

/* ---- turns ----------------------------------------------------------------------------------- */

static int visited_slowly;       /* how many the long inspection has shown */
static int short_look, quiesced; /* atomic; 1: has been answered, meanwhile */

static bool show_slowly(const struct cu_g_info *g, void *unused)
{
    (void)g;
    (void)unused;
    __atomic_add_fetch(&visited_slowly, 1, __ATOMIC_SEQ_CST);
    usleep(1000);
    return true;
}

static bool show_first(const struct cu_g_info *g, void *unused)
{
    (void)g;
    (void)unused;
    return false;
}

static void wait_for_the_long_one(void)
{
    while (__atomic_load_n(&visited_slowly, __ATOMIC_SEQ_CST) == 0) {
        usleep(100);
    }
}

static void *look_shortly(void *after)
{
    wait_for_the_long_one();
    cu_inspect_each(show_first, NULL);
    __atomic_store_n(&short_look, 1, __ATOMIC_SEQ_CST);
    *(int *)after = __atomic_load_n(&visited_slowly, __ATOMIC_SEQ_CST);
    return NULL;
}

static void *quiesce(void *after)
{
    wait_for_the_long_one();
    quiesced = cu_quiesce(0, 30 * COPPER_SEC) == 0;
    *(int *)after = __atomic_load_n(&visited_slowly, __ATOMIC_SEQ_CST);
    return NULL;
}

static void a_long_inspection_lets_others_go_first(void **state)
{
    enum { WAITING = 300 };
    (void)state;
    pthread_t looker, quiescer;
    int after_look = 0, after_quiesce = 0;
    cu_wg ended = {0};
    chan = cu_chan_new(0, 0);
    for (int i = 0; i < WAITING; i++) {
        assert_true(cu_wg_go(&ended, on_chan, NULL) > 0);
    }
    assert_int_equal(cu_quiesce(0, 5 * COPPER_SEC), 0);
    assert_int_equal(pthread_create(&looker, NULL, look_shortly, &after_look), 0);
    assert_int_equal(pthread_create(&quiescer, NULL, quiesce, &after_quiesce), 0);
    assert_int_equal(cu_inspect_each(show_slowly, NULL), WAITING); /* it misses none for it */
    pthread_join(looker, NULL);
    pthread_join(quiescer, NULL);
    assert_true(short_look && quiesced);
    assert_in_range(after_look, 1, WAITING - 1);
    assert_in_range(after_quiesce, 1, WAITING - 1);
    cu_chan_close(chan);
    cu_wg_wait(&ended);
    cu_chan_unref(chan);
}

static void statistics(void **state)
{
    (void)state;
    struct cu_runtime_stats stats;
    cu_runtime_stats_read(&stats);
    assert_int_equal(stats.size, sizeof(stats));
    assert_int_equal(stats.maxprocs, cu_maxprocs());
    assert_int_equal(stats.threads, stats.maxprocs);
    assert_int_equal(stats.live, stats.created - stats.exited);
    assert_true(stats.created > 20 && stats.switches > 0 && stats.parks > 0);
    assert_true(stats.running_ns > 0 && stats.guard_mode[0] != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts_of_waiting_ones),
        cmocka_unit_test(facts_of_others),
        cmocka_unit_test(large_stacks),
        cmocka_unit_test(scopes_hold_descendants),
        cmocka_unit_test(quiesce_times_out),
        cmocka_unit_test(from_a_plain_thread),
        cmocka_unit_test(a_long_inspection_lets_others_go_first),
        cmocka_unit_test(statistics),
        /* the last: it leaves threads behind, which `statistics` counts */
        cmocka_unit_test(who_lost_its_p_stops_where_others_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
