/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: threads on which requests are answered; see http_pool.h.
 */
#include "http_pool.h"

#include "profiles.h"

#include <errno.h>
#include <stdlib.h>

struct cu__pool_task {
    void (*fn)(void *);
    void *arg;
    struct cu__pool_task *next;
    pthread_cond_t done_cond;
    bool is_done;
};

int cu__pool_init(struct cu__pool *pool, unsigned max)
{
    *pool = (struct cu__pool){.max = max};
    pool->threads = calloc(max, sizeof(*pool->threads));
    if (!pool->threads) {
        return -ENOMEM;
    }
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    return 0;
}

static void *serve_tasks(void *arg)
{
    struct cu__pool *pool = arg;
    cu__own_thread_begin("copper-request");
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (!pool->first && !pool->is_stopping) {
            pool->idle++;
            pthread_cond_wait(&pool->wake, &pool->lock);
            pool->idle--;
        }
        struct cu__pool_task *task = pool->first;
        if (!task) {
            break;
        }
        pool->first = task->next;
        pool->last = pool->first ? pool->last : NULL;
        pool->waiting--;
        pthread_mutex_unlock(&pool->lock);
        task->fn(task->arg);
        pthread_mutex_lock(&pool->lock);
        task->is_done = true;
        pthread_cond_signal(&task->done_cond);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Called with the lock held. */
static bool add_thread(struct cu__pool *pool)
{
    pthread_attr_t attr;
    if (pool->nthreads == pool->max || pthread_attr_init(&attr) != 0) {
        return false;
    }
    pthread_attr_setstacksize(&attr, COPPER_POOL_STACK);
    bool is_made = pthread_create(&pool->threads[pool->nthreads], &attr, serve_tasks, pool) == 0;
    pthread_attr_destroy(&attr);
    pool->nthreads += is_made;
    return is_made;
}

int cu__pool_run(struct cu__pool *pool, void (*fn)(void *), void *arg)
{
    struct cu__pool_task task = {.fn = fn, .arg = arg};
    pthread_cond_init(&task.done_cond, NULL);
    pthread_mutex_lock(&pool->lock);
    if (pool->idle <= pool->waiting && !add_thread(pool) && pool->nthreads == 0) {
        pthread_mutex_unlock(&pool->lock);
        pthread_cond_destroy(&task.done_cond);
        return -EAGAIN;
    }
    if (pool->last) {
        pool->last->next = &task;
    } else {
        pool->first = &task;
    }
    pool->last = &task;
    pool->waiting++;
    pthread_cond_signal(&pool->wake);
    while (!task.is_done) {
        pthread_cond_wait(&task.done_cond, &pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    pthread_cond_destroy(&task.done_cond);
    return 0;
}

void cu__pool_end(struct cu__pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->is_stopping = true;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->nthreads; i++) {
        pthread_join(pool->threads[i], NULL);
    }
    free(pool->threads);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
}
