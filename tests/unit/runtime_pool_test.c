/* SPDX-License-Identifier: Apache-2.0 */
#include <copper/inspect.h>
#include <copper/label.h>
#include <copper/pool.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "coroutine_body.h"

static void settle(void)
{
    cu_quiesce(0, 30 * COPPER_SEC);
}

static struct {
    cu_sem gate;                /* jobs wait here */
    int64_t running, most, ran; /* atomic */
    int64_t order[64];
    cu_id ran_by[64];
} j;

static void enter(void)
{
    int64_t now = __atomic_add_fetch(&j.running, 1, __ATOMIC_RELAXED);
    int64_t most = __atomic_load_n(&j.most, __ATOMIC_RELAXED);
    while (now > most && !__atomic_compare_exchange_n(&j.most, &most, now, false, __ATOMIC_RELAXED,
                                                      __ATOMIC_RELAXED)) {
    }
}

static void leave(void *arg)
{
    int64_t at = __atomic_fetch_add(&j.ran, 1, __ATOMIC_RELAXED);
    j.order[at % 64] = (int64_t)(intptr_t)arg;
    j.ran_by[at % 64] = cu_self();
    __atomic_sub_fetch(&j.running, 1, __ATOMIC_RELAXED);
}

static void gated(void *arg)
{
    enter();
    cu_sem_acquire(&j.gate, 1);
    leave(arg);
}

static void quick(void *arg)
{
    enter();
    leave(arg);
}

static struct cu_pool_stats stats_of(cu_pool *pool)
{
    struct cu_pool_stats stats = {.size = sizeof(stats)};
    cu_pool_stats_read(pool, &stats);
    return stats;
}

COROUTINE_TEST(runs_so_many_at_once)
{
    memset(&j, 0, sizeof(j));
    cu_pool *pool = cu_pool_new(3, 4);
    for (intptr_t i = 0; i < 7; i++) {
        expect(cu_pool_try_submit(pool, gated, (void *)i) == 0);
    }
    settle();
    expect(cu_pool_try_submit(pool, gated, NULL) == -EAGAIN);
    struct cu_pool_stats s = stats_of(pool);
    expect(s.workers == 3 && s.workers_max == 3 && s.running == 3 && s.queued == 4 && s.idle == 0);
    expect(s.submitted == 7 && s.done == 0 && s.refused == 1);
    cu_sem_release(&j.gate, 7);
    cu_pool_drain(pool);
    settle();
    s = stats_of(pool);
    expect(s.workers == 3 && s.idle == 3 && s.done == 7 && s.running == 0 && s.queued == 0);
    expect(j.most == 3 && j.ran == 7);
    cu_pool_free(pool);
    return 0;
}

/* The same coroutine runs job after job. */
COROUTINE_TEST(reuses_its_workers)
{
    memset(&j, 0, sizeof(j));
    cu_pool *pool = cu_pool_new(1, 0);
    for (intptr_t i = 0; i < 50; i++) {
        expect(cu_pool_submit(pool, quick, (void *)i) == 0);
    }
    cu_pool_drain(pool);
    for (int i = 0; i < 50; i++) {
        expect(j.order[i] == i && j.ran_by[i] == j.ran_by[0] && j.ran_by[i] != cu_self());
    }
    cu_pool_free(pool);
    return 0;
}

struct submission {
    cu_pool *pool;
    intptr_t number;
    int result;
};

static void submit_gated(void *arg)
{
    struct submission *s = arg;
    s->result = cu_pool_submit(s->pool, gated, (void *)s->number);
}

COROUTINE_TEST(submitters_wait_in_order)
{
    struct submission s[4];
    cu_wg wg = {0};
    memset(&j, 0, sizeof(j));
    cu_pool *pool = cu_pool_new(1, 1);
    for (intptr_t i = 0; i < 4; i++) {
        s[i] = (struct submission){pool, i, 1};
        cu_wg_go(&wg, submit_gated, &s[i]);
        settle();
    }
    expect(stats_of(pool).waiting == 2 && s[1].result == 0 && s[2].result == 1);
    for (int i = 0; i < 4; i++) {
        cu_sem_release(&j.gate, 1);
        settle();
        expect(j.ran == i + 1 && j.order[i] == i);
    }
    cu_wg_wait(&wg);
    expect(stats_of(pool).submitted == 4 && stats_of(pool).waiting == 0);
    cu_pool_free(pool);
    return 0;
}

COROUTINE_TEST(policies)
{
    struct cu_pool_options options = {COPPER_POOL_OPTIONS, .workers = 1,
                                      .policy = COPPER_POOL_REFUSES, .name = "strict"};
    memset(&j, 0, sizeof(j));
    cu_pool *pool = cu_pool_new_with(&options);
    expect(cu_pool_submit(pool, gated, NULL) == 0);
    settle();
    expect(cu_pool_submit(pool, quick, NULL) == -EAGAIN && stats_of(pool).refused == 1);
    cu_sem_release(&j.gate, 1);
    cu_pool_free(pool);
    options.policy = COPPER_POOL_CALLER_RUNS;
    pool = cu_pool_new_with(&options);
    expect(cu_pool_submit(pool, gated, NULL) == 0);
    settle();
    expect(cu_pool_submit(pool, quick, (void *)7) == 0);
    expect(j.order[1] == 7 && j.ran_by[1] == cu_self() && stats_of(pool).ran_by_caller == 1);
    expect(cu_pool_try_submit(pool, quick, NULL) == -EAGAIN);
    cu_sem_release(&j.gate, 1);
    cu_pool_free(pool);
    options.workers = 0;
    expect(cu_pool_new_with(&options) == NULL);
    expect(cu_pool_new(COPPER_POOL_WORKERS_MAX + 1, 0) == NULL);
    return 0;
}

COROUTINE_TEST(resizes_while_it_runs)
{
    memset(&j, 0, sizeof(j));
    cu_pool *pool = cu_pool_new(2, 20);
    for (int i = 0; i < 16; i++) {
        expect(cu_pool_submit(pool, gated, NULL) == 0);
    }
    settle();
    expect(stats_of(pool).running == 2);
    expect(cu_pool_resize(pool, 6) == 0);
    settle();
    expect(stats_of(pool).running == 6 && stats_of(pool).workers == 6);
    expect(cu_pool_resize(pool, 1) == 0);
    cu_sem_release(&j.gate, 6);
    settle();
    expect(stats_of(pool).workers == 1 && stats_of(pool).running == 1 && j.ran == 6);
    cu_sem_release(&j.gate, 10);
    cu_pool_drain(pool);
    expect(j.ran == 16);
    expect(cu_pool_resize(pool, 0) == -EINVAL);
    expect(cu_pool_resize(pool, 4) == 0 && stats_of(pool).workers == 1);
    for (int i = 0; i < 4; i++) {
        expect(cu_pool_submit(pool, gated, NULL) == 0);
    }
    cu_sem_release(&j.gate, 4);
    cu_pool_drain(pool);
    settle();
    expect(stats_of(pool).idle == 4);
    expect(cu_pool_resize(pool, 2) == 0);
    settle();
    expect(stats_of(pool).idle == 2 && stats_of(pool).workers == 2);
    cu_pool_free(pool);
    return 0;
}

COROUTINE_TEST(close_runs_what_is_queued)
{
    struct submission s;
    cu_wg wg = {0};
    memset(&j, 0, sizeof(j));
    cu_pool *pool = cu_pool_new(1, 2);
    for (int i = 0; i < 3; i++) {
        expect(cu_pool_submit(pool, gated, NULL) == 0);
    }
    s = (struct submission){pool, 9, 1};
    cu_wg_go(&wg, submit_gated, &s);
    settle();
    cu_pool_close(pool);
    cu_pool_close(pool);
    cu_wg_wait(&wg);
    expect(s.result == -EPIPE && cu_pool_submit(pool, quick, NULL) == -EPIPE);
    expect(cu_pool_try_submit(pool, quick, NULL) == -EPIPE);
    cu_sem_release(&j.gate, 3);
    cu_pool_free(pool);
    expect(j.ran == 3);
    cu_pool_free(NULL);
    return 0;
}

static void end_worker(void *arg)
{
    leave(arg);
    enter();
    cu_exit();
}

COROUTINE_TEST(ended_workers_are_replaced)
{
    memset(&j, 0, sizeof(j));
    cu_pool *pool = cu_pool_new(2, 8);
    for (int i = 0; i < 10; i++) {
        expect(cu_pool_submit(pool, i % 2 ? quick : end_worker, NULL) == 0);
    }
    cu_pool_drain(pool);
    expect(j.ran == 10 && stats_of(pool).done == 10 && stats_of(pool).running == 0);
    cu_pool_free(pool);
    return 0;
}

/* ---- what tools see ---- */

struct census {
    int idle, daemons, workers;
    struct cu_object_info object;
};

static bool look(const struct cu_g_info *g, void *arg)
{
    struct census *c = arg;
    bool is_worker = !strcmp(g->name, "seen");
    c->workers += is_worker;
    c->daemons += is_worker && g->is_daemon;
    if (g->reason == COPPER_WAIT_POOL_IDLE) {
        c->idle++;
        c->object = g->object;
    }
    return true;
}

static void note_label(void *arg)
{
    const char *value = cu_label_get("who");
    *(bool *)arg = value && !strcmp(value, "submitter");
    cu_sem_acquire(&j.gate, 1);
}

COROUTINE_TEST(idle_workers_are_daemons)
{
    struct cu_pool_options options = {COPPER_POOL_OPTIONS, .workers = 3, .name = "seen",
                                      .site = COPPER_SITE()};
    struct census c = {.idle = 0};
    bool had_label = false;
    memset(&j, 0, sizeof(j));
    cu_pool *pool = cu_pool_new_with(&options);
    cu_label_set("who", "submitter");
    expect(cu_pool_submit(pool, note_label, &had_label) == 0);
    settle();
    cu_label_set("who", NULL);
    cu_inspect_each(look, &c);
    expect(had_label && c.workers == 1 && c.daemons == 0 && c.idle == 0);
    cu_sem_release(&j.gate, 1);
    settle();
    cu_inspect_each(look, &c);
    expect(c.workers == 2 && c.daemons == 1 && c.idle == 1);
    expect(c.object.kind == COPPER_OBJECT_POOL && c.object.address == pool);
    expect(!strcmp(c.object.name, "seen") && c.object.site == options.site);
    cu_pool_free(pool);
    return 0;
}

/* ---- hammer: coroutines and threads submit, somebody resizes ---- */

#define SUBMITTERS 6
#define JOBS       2000

static struct {
    cu_pool *pool;
    int64_t accepted, ran; /* atomic */
    uint32_t stop;         /* atomic */
} h;

static void count_job(void *unused)
{
    (void)unused;
    int64_t n = __atomic_add_fetch(&h.ran, 1, __ATOMIC_RELAXED);
    if (n % 16 == 0) {
        cu_yield();
    }
    if (n % 101 == 0) {
        cu_exit();
    }
}

static void submit_many(void *unused)
{
    (void)unused;
    for (int i = 0; i < JOBS; i++) {
        int error = i % 3 ? cu_pool_submit(h.pool, count_job, NULL)
                          : cu_pool_try_submit(h.pool, count_job, NULL);
        if (error == 0) {
            __atomic_add_fetch(&h.accepted, 1, __ATOMIC_RELAXED);
        }
    }
}

static void *submit_many_in_thread(void *unused)
{
    submit_many(unused);
    return NULL;
}

static void resize_often(void *unused)
{
    (void)unused;
    for (uint32_t n = 1; !__atomic_load_n(&h.stop, __ATOMIC_RELAXED); n = n * 5 % 13) {
        cu_pool_resize(h.pool, 1 + n);
        cu_sleep(200 * COPPER_US);
    }
}

static void hammer(void **state)
{
    (void)state;
    pthread_t thread;
    cu_wg submitters = {0}, resizer = {0};
    h.pool = cu_pool_new(4, 8);
    cu_wg_go(&resizer, resize_often, NULL);
    assert_int_equal(pthread_create(&thread, NULL, submit_many_in_thread, NULL), 0);
    for (int i = 0; i < SUBMITTERS; i++) {
        cu_wg_go(&submitters, submit_many, NULL);
    }
    cu_wg_wait(&submitters);
    pthread_join(thread, NULL);
    __atomic_store_n(&h.stop, 1, __ATOMIC_RELAXED);
    cu_wg_wait(&resizer);
    cu_pool_drain(h.pool);
    struct cu_pool_stats s = stats_of(h.pool);
    assert_int_equal(h.ran, h.accepted);
    assert_int_equal(s.done, h.ran);
    assert_int_equal(s.submitted, h.ran);
    assert_true(s.workers <= s.workers_max);
    cu_pool_free(h.pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_so_many_at_once),
        cmocka_unit_test(reuses_its_workers),
        cmocka_unit_test(submitters_wait_in_order),
        cmocka_unit_test(policies),
        cmocka_unit_test(resizes_while_it_runs),
        cmocka_unit_test(close_runs_what_is_queued),
        cmocka_unit_test(ended_workers_are_replaced),
        cmocka_unit_test(idle_workers_are_daemons),
        cmocka_unit_test(hammer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
