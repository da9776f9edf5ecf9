/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/pool.h: a bounded pool of coroutines that run jobs.
 *
 * At most so many jobs run at once, and at most so many wait in a queue; who submits more waits,
 * is refused, or runs the job itself. Workers are started when they are needed and then kept, with
 * their stacks. A parked idle worker is no leak: it counts as a daemon. While it runs a job it does
 * not, so that a job that is stranded is reported.
 *
 *     cu_pool *pool = cu_pool_new(8, 100);
 *     for (...) cu_pool_submit(pool, convert, &files[i]);
 *     cu_pool_free(pool);                     // when all have run
 *
 * A job has the labels of who submitted it. A job may submit jobs; but where all workers wait to
 * submit to their own full pool, none is left to make room: use cu_pool_try_submit there. A job
 * that ends its coroutine (cu_exit) ends the worker, and another takes its place.
 *
 * All functions may be called from coroutines and from plain threads, not from signal handlers, and
 * are thread-safe. The waiting ones park, or block a plain thread.
 */
#ifndef COPPER_POOL_H
#define COPPER_POOL_H

#include <copper/context.h>
#include <copper/go.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef struct cu_pool cu_pool;

#define COPPER_POOL_WORKERS_MAX (1u << 20)
#define COPPER_POOL_QUEUE_MAX   (1u << 30)

/* What cu_pool_submit does when all workers are busy and the queue is full. */
enum cu_pool_policy {
    COPPER_POOL_WAITS,       /* parks until there is room; first come, first served */
    COPPER_POOL_REFUSES,     /* returns -EAGAIN */
    COPPER_POOL_CALLER_RUNS, /* runs the job itself, before it returns */
};

struct cu_pool_options {
    size_t size;                /* sizeof(struct cu_pool_options): set by COPPER_POOL_OPTIONS */
    uint32_t workers;           /* jobs that run at once, 1 to COPPER_POOL_WORKERS_MAX */
    uint32_t queue;             /* jobs that wait, up to COPPER_POOL_QUEUE_MAX; 0: none */
    enum cu_pool_policy policy; /* when both are used up */
    size_t stack_size;          /* of the workers, see struct cu_go_options */
    const char *name; /* of the pool in reports and of its workers; copied, cut to 31 bytes */
    const struct cu_site *site; /* where it was made; NULL: unknown */
};
#define COPPER_POOL_OPTIONS .size = sizeof(struct cu_pool_options)

/* NULL when memory is out or a number is out of range. Starts no worker yet. The queue's memory
 * (24 bytes a job) is taken here. */
cu_pool *cu_pool_new(uint32_t workers, uint32_t queue);
cu_pool *cu_pool_new_site(uint32_t workers, uint32_t queue, const struct cu_site *site);
cu_pool *cu_pool_new_with(const struct cu_pool_options *options);
#define cu_pool_new(workers, queue) cu_pool_new_site((workers), (queue), COPPER_SITE())

/* Has fn(arg) run by a worker. 0; -EPIPE when the pool was closed, also while the caller waited;
 * -EAGAIN where the pool refuses; -ENOMEM or -EAGAIN when there is no worker and none can be
 * started. Jobs are started in the order of submission. */
int cu_pool_submit(cu_pool *pool, void (*fn)(void *), void *arg);
/* Waits no longer than until ctx is done: -ECANCELED, -ETIMEDOUT. */
int cu_pool_submit_ctx(cu_ctx *ctx, cu_pool *pool, void (*fn)(void *), void *arg);
/* Never waits, whatever the policy: -EAGAIN. */
int cu_pool_try_submit(cu_pool *pool, void (*fn)(void *), void *arg);

/* Changes how many jobs run at once, also while they do: more workers start at once on what waits;
 * surplus ones end, the idle at once, the others after their job. 0; -EINVAL out of range. */
int cu_pool_resize(cu_pool *pool, uint32_t workers);

/* Waits until nothing is queued and nothing runs. Others may submit meanwhile, and again after.
 * From a job of the pool itself it is misuse: reports the caller and aborts. */
void cu_pool_drain(cu_pool *pool);

/* No more jobs: later and waiting submitters get -EPIPE. What is queued still runs. Does not wait;
 * may be repeated. */
void cu_pool_close(cu_pool *pool);

/* Closes the pool, waits until all its jobs have run and its workers are gone, frees it. Nobody
 * else may use it any more. From a job of the pool itself it is misuse: reports the caller and
 * aborts. NULL is allowed. */
void cu_pool_free(cu_pool *pool);

struct cu_pool_stats {
    size_t size;                       /* set by the caller: sizeof(struct cu_pool_stats) */
    uint32_t workers_max;              /* as asked for */
    uint32_t workers, idle;            /* that exist; of these without a job */
    uint64_t running, queued, waiting; /* jobs; and submitters that wait for room */
    uint64_t submitted, done;          /* jobs accepted, and ended, since it was made */
    uint64_t refused, ran_by_caller;   /* -EAGAIN; CALLER_RUNS */
};
/* All taken at one moment. */
void cu_pool_stats_read(cu_pool *pool, struct cu_pool_stats *out);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
