/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the bounded pool of coroutines.
 *
 * Design: a ring of jobs and three lists of waiters under one lock, like a channel: idle workers,
 * submitters that found no room, and those who wait for the pool to be empty or gone. A job goes
 * straight to an idle worker; else to a new one; else into the ring; else its submitter waits with
 * it. A worker that is done takes the oldest job of the ring, and the first submitter's takes the
 * place that became free.
 *
 * Invariants, outside of the lock: workers are idle only while nothing waits to run; submitters
 * wait only while the ring is full; nobody waits to submit to a closed pool. Who takes a worker out
 * of the idle list counts for it: its job as running, or itself as gone.
 *
 * Lifetime: cu_pool_free waits until the last worker has counted itself as gone, which is the last
 * it does with the pool, and passes through the pool's stripe, under which an inspector may be
 * describing it.
 */
#include "pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "at_end.h"
#include "report.h"
#include "schedule.h"
#include "spawn.h"
#include "stack.h"
#include "sync_int.h"
#include "tls.h"

struct job {
    void (*fn)(void *);
    void *arg;
    const struct cu_labels *labels;
};

struct cu_pool {
    struct cu__lock lock;
    enum cu_pool_policy policy; /* constant, like these: */
    uint32_t cap;
    size_t stack_size;
    const struct cu_site *site;
    char name[COPPER_NAME_SIZE];
    uint32_t max, workers, idle_count; /* lock, like all that follows */
    bool is_closed;
    uint64_t running, waiting;
    uint64_t submitted, done, refused, ran_by_caller;
    struct cu__waiters idle, submitters, drainers, closers;
    uint32_t first, count; /* of the ring */
    struct job ring[];
};

enum { GO_ON = 0, LEAVE = 1 }; /* results of waiting while idle */

/* On the stack of who runs a job. */
struct run {
    struct cu__at_end at_end;
    cu_pool *pool;
};

static void start_worker(cu_pool *pool);

/* ---- making ---- */

cu_pool *cu_pool_new_with(const struct cu_pool_options *options)
{
    struct cu_pool_options o = {COPPER_POOL_OPTIONS};
    if (options->size == 0 || options->size > sizeof(o)) {
        return NULL;
    }
    memcpy(&o, options, options->size);
    if (o.workers == 0 || o.workers > COPPER_POOL_WORKERS_MAX || o.queue > COPPER_POOL_QUEUE_MAX ||
        (unsigned)o.policy > COPPER_POOL_CALLER_RUNS || cu__stack_class(o.stack_size) == 0) {
        return NULL;
    }
    cu_pool *pool = calloc(1, sizeof(*pool) + o.queue * sizeof(struct job));
    if (pool) {
        pool->policy = o.policy;
        pool->cap = o.queue;
        pool->stack_size = o.stack_size;
        pool->site = o.site;
        pool->max = o.workers;
        if (o.name) {
            memcpy(pool->name, o.name, strnlen(o.name, sizeof(pool->name) - 1));
        }
    }
    return pool;
}

cu_pool *cu_pool_new_site(uint32_t workers, uint32_t queue, const struct cu_site *site)
{
    struct cu_pool_options options = {COPPER_POOL_OPTIONS, .workers = workers, .queue = queue,
                                      .site = site};
    return cu_pool_new_with(&options);
}

cu_pool *(cu_pool_new)(uint32_t workers, uint32_t queue)
{
    return cu_pool_new_site(workers, queue, NULL);
}

/* ---- the ring: with the lock ---- */

static void push(cu_pool *pool, const struct job *job)
{
    uint64_t at = (uint64_t)pool->first + pool->count;
    pool->ring[at < pool->cap ? at : at - pool->cap] = *job;
    pool->count++;
}

static void pop(cu_pool *pool, struct job *job)
{
    *job = pool->ring[pool->first];
    pool->first = pool->first + 1 < pool->cap ? pool->first + 1 : 0;
    pool->count--;
}

/* The oldest job that waits, as running. Its submitter, if one was waiting, goes into the chain. */
static bool take_job(cu_pool *pool, struct job *job, struct cu__chain *chain)
{
    bool was_queued = pool->count > 0;
    if (was_queued) {
        pop(pool, job);
    }
    struct cu__waiter *submitter = cu__waiters_pop(&pool->submitters);
    if (submitter) {
        if (was_queued) {
            push(pool, submitter->value);
        } else {
            *job = *(struct job *)submitter->value;
        }
        pool->submitted++;
        pool->waiting--;
        cu__chain_add(chain, submitter);
    }
    if (!was_queued && submitter == NULL) {
        return false;
    }
    pool->running++;
    return true;
}

static void take_all(struct cu__waiters *list, int result, struct cu__chain *chain)
{
    for (struct cu__waiter *w; (w = cu__waiters_pop(list));) {
        w->result = result;
        cu__chain_add(chain, w);
    }
}

/* Whoever waits for what is the case now. */
static void tell_if_empty(cu_pool *pool, struct cu__chain *chain)
{
    if (pool->running == 0 && pool->count == 0 && pool->submitters.first == NULL) {
        take_all(&pool->drainers, 0, chain);
    }
    if (pool->is_closed && pool->workers == 0) {
        take_all(&pool->closers, 0, chain);
    }
}

static int wait_in(cu_pool *pool, struct cu__waiters *list, void *value, enum cu_wait_reason reason,
                   cu_ctx *ctx)
{
    struct cu__waiter thread_one, *self = cu__waiter_init(&thread_one, value);
    struct cu__wait why = {.reason = reason, .kind = COPPER_OBJECT_POOL, .object = pool};
    cu__waiters_add(list, self);
    return cu__wait_ctx(self, &why, &pool->lock, list, ctx);
}

/* ---- workers ---- */

static void be_daemon(bool is_daemon)
{
    store_relaxed(&cu__g_self()->is_daemon, is_daemon);
}

/* The next job, or false: the worker has been counted as gone, and touches the pool no more.
 * is_done: it comes from a job. */
static bool next_job(cu_pool *pool, struct job *job, bool is_done)
{
    struct cu__chain chain;
    cu__chain_init(&chain);
    cu__lock_take(&pool->lock);
    pool->running -= is_done;
    pool->done += is_done;
    bool is_surplus = pool->workers > pool->max;
    bool has_job = !is_surplus && take_job(pool, job, &chain);
    bool leaves = is_surplus || (!has_job && pool->is_closed);
    pool->workers -= leaves;
    if (!has_job) {
        tell_if_empty(pool, &chain);
    }
    if (!has_job && !leaves && chain.first == NULL) {
        pool->idle_count++;
        be_daemon(true);
        int result = wait_in(pool, &pool->idle, job, COPPER_WAIT_POOL_IDLE, NULL);
        be_daemon(false);
        return result == GO_ON;
    }
    cu__lock_drop(&pool->lock);
    cu__chain_wake(&chain);
    /* neither: it told others that the pool is empty, and something may have come since */
    return has_job || (!leaves && next_job(pool, job, false));
}

/* A job ended its coroutine, this worker: another takes its place where one is needed. */
static void worker_is_lost(struct cu__at_end *at_end)
{
    cu_pool *pool = container_of(at_end, struct run, at_end)->pool;
    struct cu__chain chain;
    cu__chain_init(&chain);
    cu__lock_take(&pool->lock);
    pool->running--;
    pool->done++;
    bool is_needed = pool->workers <= pool->max && (pool->count || pool->submitters.first);
    if (!is_needed) {
        pool->workers--;
        tell_if_empty(pool, &chain);
    }
    cu__lock_drop(&pool->lock);
    cu__chain_wake(&chain);
    if (is_needed) {
        start_worker(pool); /* counted already: as the one that is lost */
    }
}

static void run_job(cu_pool *pool, const struct job *job)
{
    struct cu__g *g = cu__g_self();
    struct run run = {.at_end.run = worker_is_lost, .pool = pool};
    store_release(&g->labels, job->labels);
    cu__at_end_push(&run.at_end);
    job->fn(job->arg);
    cu__at_end_pop(&run.at_end);
    store_release(&g->labels, NULL);
}

struct start {
    cu_pool *pool;
    struct job job; /* fn NULL: none yet */
};

static void work(void *arg)
{
    struct start start = *(struct start *)arg;
    struct job job = start.job;
    free(arg);
    if (job.fn == NULL && !next_job(start.pool, &job, false)) {
        return;
    }
    do {
        run_job(start.pool, &job);
    } while (next_job(start.pool, &job, true));
}

/* 0 or -errno. The worker, and its job, are counted already. */
static int try_start(cu_pool *pool, const struct job *job)
{
    struct start *start = malloc(sizeof(*start));
    if (start == NULL) {
        return -ENOMEM;
    }
    *start = (struct start){.pool = pool};
    if (job) {
        start->job = *job;
    }
    struct cu_go_options options = {COPPER_GO_OPTIONS, .stack_size = pool->stack_size,
                                    .name = pool->name[0] ? pool->name : "pool",
                                    .site = pool->site};
    cu_id id = cu__spawn(&(struct cu__spawn){.fn = work, .arg = start, .options = &options});
    if (id < 0) {
        free(start);
        return (int)id;
    }
    return 0;
}

/* A worker without a job yet, counted already. Where none can be started, what waits is left to
 * the others, or to the next that submits. */
static void start_worker(cu_pool *pool)
{
    if (try_start(pool, NULL) == 0) {
        return;
    }
    struct cu__chain chain;
    cu__chain_init(&chain);
    cu__lock_take(&pool->lock);
    pool->workers--;
    tell_if_empty(pool, &chain);
    cu__lock_drop(&pool->lock);
    cu__chain_wake(&chain);
}

/* ---- submitting ---- */

/* Called with the lock, which is given back. The job goes to a new worker. */
static int submit_to_new(cu_pool *pool, const struct job *job)
{
    pool->workers++;
    pool->running++;
    pool->submitted++;
    cu__lock_drop(&pool->lock);
    int error = try_start(pool, job);
    if (error) {
        struct cu__chain chain;
        cu__chain_init(&chain);
        cu__lock_take(&pool->lock);
        pool->workers--;
        pool->running--;
        pool->submitted--;
        tell_if_empty(pool, &chain);
        cu__lock_drop(&pool->lock);
        cu__chain_wake(&chain);
    }
    return error;
}

static bool give_to_idle(cu_pool *pool, const struct job *job)
{
    struct cu__waiter *worker = cu__waiters_pop(&pool->idle);
    if (worker) {
        *(struct job *)worker->value = *job;
        worker->result = GO_ON;
        pool->idle_count--;
        pool->running++;
        pool->submitted++;
        cu__lock_drop(&pool->lock);
        cu__wake(worker);
    }
    return worker != NULL;
}

/* Called with the lock, which is given back. Who took it out of the list counted for it. */
static int wait_for_room(cu_pool *pool, struct job *job, cu_ctx *ctx)
{
    struct cu__chain chain;
    pool->waiting++;
    int result = wait_in(pool, &pool->submitters, job, COPPER_WAIT_POOL_SUBMIT, ctx);
    if (result == -ECANCELED || result == -ETIMEDOUT) {
        cu__chain_init(&chain);
        cu__lock_take(&pool->lock);
        pool->waiting--;
        tell_if_empty(pool, &chain);
        cu__lock_drop(&pool->lock);
        cu__chain_wake(&chain);
    }
    return result;
}

/* Neither worker nor room. Called with the lock, which is given back. */
static int submit_to_full(cu_pool *pool, struct job *job, enum cu_pool_policy policy, cu_ctx *ctx)
{
    if (policy == COPPER_POOL_WAITS) {
        return wait_for_room(pool, job, ctx);
    }
    pool->refused += policy == COPPER_POOL_REFUSES;
    pool->ran_by_caller += policy == COPPER_POOL_CALLER_RUNS;
    cu__lock_drop(&pool->lock);
    if (policy == COPPER_POOL_CALLER_RUNS) {
        job->fn(job->arg);
        return 0;
    }
    return -EAGAIN;
}

static int submit(cu_pool *pool, struct job *job, enum cu_pool_policy policy, cu_ctx *ctx)
{
    int error = 0;
    struct cu__g *g = cu__g_self();
    job->labels = g ? g->labels : cu__thread_labels();
    for (;;) {
        cu__lock_take(&pool->lock);
        if (pool->is_closed) {
            cu__lock_drop(&pool->lock);
            return -EPIPE;
        }
        if (give_to_idle(pool, job)) {
            return 0;
        }
        if (pool->workers >= pool->max || error) {
            break;
        }
        error = submit_to_new(pool, job);
        if (error == 0) {
            return 0;
        }
    }
    if (pool->workers == 0) { /* and none can be started */
        cu__lock_drop(&pool->lock);
        return error;
    }
    if (pool->count < pool->cap) {
        push(pool, job);
        pool->submitted++;
        cu__lock_drop(&pool->lock);
        return 0;
    }
    return submit_to_full(pool, job, policy, ctx);
}

int cu_pool_submit(cu_pool *pool, void (*fn)(void *), void *arg)
{
    return submit(pool, &(struct job){.fn = fn, .arg = arg}, pool->policy, NULL);
}

int cu_pool_submit_ctx(cu_ctx *ctx, cu_pool *pool, void (*fn)(void *), void *arg)
{
    return submit(pool, &(struct job){.fn = fn, .arg = arg}, pool->policy, ctx);
}

int cu_pool_try_submit(cu_pool *pool, void (*fn)(void *), void *arg)
{
    return submit(pool, &(struct job){.fn = fn, .arg = arg}, COPPER_POOL_REFUSES, NULL);
}

/* ---- changing and ending ---- */

int cu_pool_resize(cu_pool *pool, uint32_t workers)
{
    struct cu__chain chain;
    uint32_t more = 0;
    if (workers == 0 || workers > COPPER_POOL_WORKERS_MAX) {
        return -EINVAL;
    }
    cu__chain_init(&chain);
    cu__lock_take(&pool->lock);
    pool->max = workers;
    for (struct cu__waiter *w; pool->workers > workers && (w = cu__waiters_pop(&pool->idle));) {
        w->result = LEAVE;
        pool->workers--;
        pool->idle_count--;
        cu__chain_add(&chain, w);
    }
    if (pool->workers < workers) {
        uint64_t jobs = pool->count + pool->waiting, room = workers - pool->workers;
        more = (uint32_t)(jobs < room ? jobs : room);
        pool->workers += more;
    }
    cu__lock_drop(&pool->lock);
    cu__chain_wake(&chain);
    for (; more > 0; more--) {
        start_worker(pool);
    }
    return 0;
}

static void forbid_own_job(const cu_pool *pool, const char *call)
{
    const struct cu__g *g = cu__g_self();
    for (const struct cu__at_end *a = g && g->owes ? g->at_end : NULL; a; a = a->next) {
        if (a->run == worker_is_lost && container_of(a, const struct run, at_end)->pool == pool) {
            cu__misuse(
                "%s called from a job of the pool itself, %s at %p: it would wait for itself", call,
                pool->name[0] ? pool->name : "a pool", (const void *)pool);
        }
    }
}

/* Where no worker could be started for what waits, the caller is one. Called with the lock. */
static void help(cu_pool *pool)
{
    struct cu__chain chain;
    struct job job;
    for (;;) {
        cu__chain_init(&chain);
        if (pool->workers > 0 || !take_job(pool, &job, &chain)) {
            return;
        }
        cu__lock_drop(&pool->lock);
        cu__chain_wake(&chain);
        job.fn(job.arg);
        cu__lock_take(&pool->lock);
        pool->running--;
        pool->done++;
    }
}

void cu_pool_drain(cu_pool *pool)
{
    forbid_own_job(pool, "cu_pool_drain");
    cu__lock_take(&pool->lock);
    help(pool);
    if (pool->running == 0 && pool->count == 0 && pool->submitters.first == NULL) {
        cu__lock_drop(&pool->lock);
        return;
    }
    wait_in(pool, &pool->drainers, NULL, COPPER_WAIT_POOL_DRAIN, NULL);
}

void cu_pool_close(cu_pool *pool)
{
    struct cu__chain chain;
    cu__chain_init(&chain);
    cu__lock_take(&pool->lock);
    pool->is_closed = true;
    for (struct cu__waiter *w; (w = cu__waiters_pop(&pool->submitters)); pool->waiting--) {
        w->result = -EPIPE;
        cu__chain_add(&chain, w);
    }
    take_all(&pool->idle, LEAVE, &chain);
    pool->workers -= pool->idle_count;
    pool->idle_count = 0;
    tell_if_empty(pool, &chain);
    cu__lock_drop(&pool->lock);
    cu__chain_wake(&chain);
}

void cu_pool_free(cu_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    forbid_own_job(pool, "cu_pool_free");
    cu_pool_close(pool);
    cu__lock_take(&pool->lock);
    if (pool->workers > 0) {
        wait_in(pool, &pool->closers, NULL, COPPER_WAIT_POOL_DRAIN, NULL);
        cu__lock_take(&pool->lock);
    }
    help(pool);
    cu__lock_drop(&pool->lock);
    struct cu__lock *stripe = cu__stripe(pool);
    cu__lock_take(stripe);
    cu__lock_drop(stripe);
    free(pool);
}

/* ---- looking ---- */

void cu_pool_stats_read(cu_pool *pool, struct cu_pool_stats *out)
{
    size_t asked = out->size;
    cu__lock_take(&pool->lock);
    struct cu_pool_stats now = {
        .size = asked,
        .workers_max = pool->max,
        .workers = pool->workers,
        .idle = pool->idle_count,
        .running = pool->running,
        .queued = pool->count,
        .waiting = pool->waiting,
        .submitted = pool->submitted,
        .done = pool->done,
        .refused = pool->refused,
        .ran_by_caller = pool->ran_by_caller,
    };
    cu__lock_drop(&pool->lock);
    memcpy(out, &now, asked < sizeof(now) ? asked : sizeof(now));
}

void cu__pool_describe(const cu_pool *pool, struct cu_object_info *out)
{
    out->site = pool->site;
    memcpy(out->name, pool->name, sizeof(out->name));
    cu__lock_take((struct cu__lock *)(uintptr_t)&pool->lock);
    out->cap = pool->cap;
    out->len = pool->count;
    out->is_closed = pool->is_closed;
    out->count = (int64_t)pool->running;
    cu__lock_drop((struct cu__lock *)(uintptr_t)&pool->lock);
}
