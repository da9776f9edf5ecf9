/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: pools and error groups under stress: every job that was accepted runs once, no more at a
 * time than may, and a group's error is one of its members'.
 */
#include <copper/errgroup.h>
#include <copper/pool.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>

#include "stress.h"

#define JOBS_MAX    20000u
#define MEMBERS_MAX 8

static struct {
    cu_pool *pool;
    enum cu_pool_policy policy;
    uint64_t seed;
    uint64_t asked, accepted; /* atomic */
    uint8_t ran[JOBS_MAX];    /* atomic */
    bool is_in[JOBS_MAX];     /* written by who submitted it */
} * p;

static void begin(uint64_t seed)
{
    p = calloc(1, sizeof(*p));
    check(p != NULL);
    p->seed = next_random(&seed);
    p->policy = (enum cu_pool_policy)draw(&seed, 3);
    struct cu_pool_options options = {COPPER_POOL_OPTIONS, .workers = 1 + draw(&seed, 5),
                                      .queue = draw(&seed, 8), .policy = p->policy, .name = "jobs"};
    p->pool = cu_pool_new_with(&options);
    check(p->pool != NULL);
}

static void end(void)
{
    cu_pool_drain(p->pool);
    struct cu_pool_stats stats = {.size = sizeof(stats)};
    cu_pool_stats_read(p->pool, &stats);
    check(stats.running == 0 && stats.queued == 0 && stats.waiting == 0);
    check(stats.done == stats.submitted);
    check(stats.submitted + stats.ran_by_caller >= p->accepted);
    cu_pool_free(p->pool);
}

static void verify(void)
{
    for (uint64_t i = 0; i < p->asked && i < JOBS_MAX; i++) {
        check(p->ran[i] == p->is_in[i]);
    }
    free(p);
}

/* arg: its number. */
static void job(void *arg)
{
    uint64_t number = (uintptr_t)arg, random = p->seed ^ number * 0x9E3779B97F4A7C15u;
    check(__atomic_fetch_add(&p->ran[number], 1, __ATOMIC_RELAXED) == 0);
    random = next_random(&random);
    dawdle(random);
    if (random % 16 == 0 && p->policy != COPPER_POOL_CALLER_RUNS) {
        cu_exit(); /* takes the worker along */
    }
}

static void submit(uint64_t random)
{
    uint64_t number = __atomic_fetch_add(&p->asked, 1, __ATOMIC_RELAXED);
    void *arg = (void *)(uintptr_t)number;
    int error;
    if (number >= JOBS_MAX) {
        return;
    }
    switch (draw(&random, 4)) {
    case 0:
        error = cu_pool_try_submit(p->pool, job, arg);
        check(error == 0 || error == -EAGAIN);
        break;
    case 1: {
        cu_ctx *ctx = cu_ctx_with_timeout(NULL, draw(&random, 300) * COPPER_US);
        error = cu_pool_submit_ctx(ctx, p->pool, job, arg);
        check(error == 0 || error == -ETIMEDOUT ||
              (p->policy == COPPER_POOL_REFUSES && error == -EAGAIN));
        cu_ctx_end(ctx);
        break;
    }
    default:
        error = cu_pool_submit(p->pool, job, arg);
        check(error == 0 || (p->policy == COPPER_POOL_REFUSES && error == -EAGAIN));
    }
    p->is_in[number] = error == 0;
    __atomic_fetch_add(&p->accepted, error == 0, __ATOMIC_RELAXED);
}

struct group {
    cu_group group;
    cu_ctx *ctx;
    uint64_t running, ran, failed; /* atomic */
    int64_t limit;
};
struct member {
    struct group *g;
    uint64_t random;
};

static int be_member(void *arg)
{
    struct member *m = arg;
    struct group *g = m->g;
    uint64_t random = m->random;
    uint64_t running = __atomic_add_fetch(&g->running, 1, __ATOMIC_RELAXED);
    check(g->limit < 0 || running <= (uint64_t)g->limit);
    dawdle(random);
    __atomic_fetch_add(&g->ran, 1, __ATOMIC_RELAXED);
    __atomic_sub_fetch(&g->running, 1, __ATOMIC_RELAXED);
    if (random % 8 == 1) {
        cu_exit();
    }
    if (random % 8 == 2) {
        __atomic_fetch_add(&g->failed, 1, __ATOMIC_RELAXED);
        return -(int)(1000 + random % 64);
    }
    if (random % 8 == 3 && g->ctx && __atomic_load_n(&g->failed, __ATOMIC_RELAXED)) {
        cu_ctx_wait(g->ctx); /* ended by the first error */
    }
    return 0;
}

static void run_group(uint64_t random)
{
    struct group g = {.limit = draw(&random, 2) ? -1 : 1 + (int64_t)draw(&random, 4)};
    struct member members[MEMBERS_MAX];
    unsigned n = draw(&random, MEMBERS_MAX + 1), accepted = 0;
    bool has_ctx = draw(&random, 2);
    uint64_t more = random;
    cu_group_set_limit(&g.group, g.limit);
    if (has_ctx) {
        g.ctx = cu_ctx_ref(cu_group_with_ctx(&g.group, NULL));
        check(g.ctx != NULL);
    }
    for (unsigned i = 0; i < n; i++) {
        members[i] = (struct member){&g, next_random(&more)};
        int error = members[i].random & 1024 ? cu_group_go(&g.group, be_member, &members[i])
                                             : cu_group_try_go(&g.group, be_member, &members[i]);
        check(error == 0 || error == -EAGAIN);
        accepted += error == 0;
    }
    int error = cu_group_wait(&g.group);
    check(g.ran == accepted && g.running == 0);
    check(g.failed ? error <= -1000 && error > -1064 : error == 0);
    check(!has_ctx || cu_ctx_err(g.ctx) == -ECANCELED);
    check(!has_ctx || !g.failed || cu_ctx_cause(g.ctx) == error);
    cu_ctx_unref(g.ctx);
}

static void step(uint64_t random)
{
    switch (draw(&random, 16)) {
    case 0:
        check(cu_pool_resize(p->pool, 1 + draw(&random, 6)) == 0);
        break;
    case 1:
        cu_pool_drain(p->pool);
        break;
    case 2:
    case 3:
    case 4:
    case 5:
        run_group(random);
        break;
    default:
        submit(random);
    }
}

const struct concept groups_concept = {"groups", begin, step, end, verify};
