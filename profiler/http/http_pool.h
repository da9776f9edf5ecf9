/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: threads on which requests are answered. The HTTP library's own threads have stacks of
 * 100 KiB, too little for reading debug information.
 *
 * Design. A thread is made when a task finds none idle, and stays. There are never more than the
 * library's workers, because each of those waits for its task.
 *
 * Concurrency: one mutex; run may be called from any number of threads.
 */
#ifndef COPPER_HTTP_POOL_H
#define COPPER_HTTP_POOL_H

#include <pthread.h>
#include <stdbool.h>

#define COPPER_POOL_STACK ((size_t)1 << 20)

struct cu__pool_task;
struct cu__pool {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct cu__pool_task *first, *last;    /* waiting for a thread; lock: lock */
    pthread_t *threads;                    /* lock: lock */
    unsigned nthreads, max, idle, waiting; /* lock: lock */
    bool is_stopping;                      /* lock: lock */
};

/* 0 or -ENOMEM. */
int cu__pool_init(struct cu__pool *pool, unsigned max);

/* Runs fn(arg) on a thread of the pool and waits for its end. 0, or -EAGAIN: no thread to be had.
 */
int cu__pool_run(struct cu__pool *pool, void (*fn)(void *), void *arg);

/* Ends the threads and waits for them. No task may be under way. */
void cu__pool_end(struct cu__pool *pool);

#endif
