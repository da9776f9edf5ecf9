/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: conditions, semaphores, onces and wait groups under stress.
 *
 *   - a bounded queue made of a mutex and two conditions: each number that was put in comes out
 *     once; consumers take until it is closed, so that every put ends
 *   - units of a weighted semaphore: never more are held than there are
 *   - onces: run once, and everybody who comes back sees what they wrote
 *   - wait groups: whoever comes back sees what the members did
 */
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>

#include "stress.h"

#define QUEUE_MAX   4
#define NUMBERS_MAX 20000u
#define UNITS       5
#define ONCES       32

static struct {
    struct {
        cu_mutex mu;
        cu_cond not_full, not_empty;
        unsigned numbers[QUEUE_MAX], first, count, given; /* guarded by mu */
        bool is_closed;                                   /* guarded by mu */
        cu_wg consumers;
        uint8_t taken[NUMBERS_MAX]; /* atomic */
    } queue;
    cu_sem sem;
    int64_t held; /* atomic */
    cu_once onces[ONCES];
    uint64_t values[ONCES]; /* written by the once of the same index */
} * w;

static void consume(void *unused)
{
    typeof(w->queue) *q = &w->queue;
    (void)unused;
    cu_mutex_lock(&q->mu);
    for (;;) {
        while (q->count == 0 && !q->is_closed) {
            cu_cond_wait(&q->not_empty, &q->mu);
        }
        if (q->count == 0) {
            break;
        }
        unsigned number = q->numbers[q->first];
        q->first = (q->first + 1) % QUEUE_MAX;
        q->count--;
        check(__atomic_fetch_add(&q->taken[number], 1, __ATOMIC_RELAXED) == 0);
        cu_cond_signal(&q->not_full);
        cu_mutex_unlock(&q->mu);
        dawdle(number * 0x9E3779B97F4A7C15u);
        cu_mutex_lock(&q->mu);
    }
    cu_mutex_unlock(&q->mu);
}

static void begin(uint64_t seed)
{
    w = calloc(1, sizeof(*w));
    check(w != NULL);
    cu_sem_init(&w->sem, UNITS);
    for (uint64_t i = 0; i < 1 + seed % 3; i++) {
        check(cu_wg_go(&w->queue.consumers, consume, NULL) > 0);
    }
}

static void end(void)
{
    cu_mutex_lock(&w->queue.mu);
    w->queue.is_closed = true;
    cu_cond_broadcast(&w->queue.not_empty);
    cu_mutex_unlock(&w->queue.mu);
    cu_wg_wait(&w->queue.consumers);
}

static void verify(void)
{
    for (unsigned i = 0; i < w->queue.given; i++) {
        check(w->queue.taken[i] == 1);
    }
    check(w->held == 0 && cu_sem_units(&w->sem) == UNITS);
    free(w);
}

/* ---- steps ---- */

/* False: there was no room in time. */
static bool wait_for_room(uint64_t *random)
{
    typeof(w->queue) *q = &w->queue;
    cu_ctx *ctx = NULL;
    int error = 0;
    if (draw(random, 4) == 0) {
        ctx = cu_ctx_with_timeout(NULL, draw(random, 300) * COPPER_US);
    }
    while (q->count == QUEUE_MAX && error == 0) {
        error = cu_cond_wait_ctx(ctx, &q->not_full, &q->mu);
        check(error == 0 || (ctx && error == -ETIMEDOUT));
    }
    cu_ctx_end(ctx);
    if (q->count < QUEUE_MAX) {
        return true;
    }
    return false;
}

static void put(uint64_t random)
{
    typeof(w->queue) *q = &w->queue;
    cu_mutex_lock(&q->mu);
    if (wait_for_room(&random) && q->given < NUMBERS_MAX) {
        q->numbers[(q->first + q->count++) % QUEUE_MAX] = q->given++;
        if (draw(&random, 4)) {
            cu_cond_signal(&q->not_empty);
        } else {
            cu_cond_broadcast(&q->not_empty);
        }
    } else if (q->count < QUEUE_MAX) {
        cu_cond_signal(&q->not_full); /* meant for somebody who makes use of it */
    }
    cu_mutex_unlock(&q->mu);
}

static void hold_units(uint64_t random)
{
    int64_t n = 1 + draw(&random, draw(&random, 8) ? 2 : UNITS);
    int error = 0;
    switch (draw(&random, 4)) {
    case 0:
        error = cu_sem_try_acquire(&w->sem, n);
        check(error == 0 || error == -EAGAIN);
        break;
    case 1: {
        cu_ctx *ctx = cu_ctx_with_timeout(NULL, draw(&random, 300) * COPPER_US);
        error = cu_sem_acquire_ctx(ctx, &w->sem, n);
        check(error == 0 || error == -ETIMEDOUT);
        cu_ctx_end(ctx);
        break;
    }
    default:
        check(cu_sem_acquire(&w->sem, n) == 0);
    }
    if (error == 0) {
        check(__atomic_add_fetch(&w->held, n, __ATOMIC_RELAXED) <= UNITS);
        dawdle(random);
        __atomic_sub_fetch(&w->held, n, __ATOMIC_RELAXED);
        cu_sem_release(&w->sem, n);
    }
}

static void run_once(void *arg)
{
    uint64_t *value = arg;
    check(*value == 0);
    dawdle((uint64_t)(value - w->values) * 0x9E3779B97F4A7C15u);
    ++*value;
}

static void meet_at_once(uint64_t random)
{
    size_t i = draw(&random, ONCES);
    cu_once_do(&w->onces[i], run_once, &w->values[i]);
    check(w->values[i] == 1);
}

struct member {
    uint64_t random, result;
};

static void be_member(void *arg)
{
    struct member *m = arg;
    dawdle(m->random);
    m->result = ~m->random;
}

static void wait_for_members(uint64_t random)
{
    struct member members[4];
    unsigned count = draw(&random, 5);
    cu_wg wg = {0};
    for (unsigned i = 0; i < count; i++) {
        members[i] = (struct member){next_random(&random), 0};
        check(cu_wg_go(&wg, be_member, &members[i]) > 0);
    }
    if (draw(&random, 4) == 0) {
        cu_ctx *ctx = cu_ctx_with_timeout(NULL, draw(&random, 100) * COPPER_US);
        int error = cu_wg_wait_ctx(ctx, &wg);
        check(error == 0 || error == -ETIMEDOUT);
        cu_ctx_end(ctx);
    }
    cu_wg_wait(&wg);
    for (unsigned i = 0; i < count; i++) {
        check(members[i].result == ~members[i].random);
    }
}

static void step(uint64_t random)
{
    switch (draw(&random, 8)) {
    case 0:
        meet_at_once(random);
        break;
    case 1:
        wait_for_members(random);
        break;
    case 2:
    case 3:
    case 4:
        put(random);
        break;
    default:
        hold_units(random);
    }
}

const struct concept waits_concept = {"waits", begin, step, end, verify};
