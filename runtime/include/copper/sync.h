/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/sync.h: locks and rendezvous that park coroutines instead of blocking threads: mutex,
 * reader-writer mutex, condition, once, semaphore, wait group.
 *
 * All zero is ready to use; no destroy. They may live on a stack or in a struct, and must not be
 * copied once used. As soon as the last call that uses one has returned, or the last one that could
 * still wait has been let go, its memory may be used otherwise; an unlock may still be under way
 * in its caller then.
 *
 * From coroutines the waiting calls park (may continue on another thread); from plain threads they
 * block the thread. All are thread-safe. None may be called from a signal handler. Nothing belongs
 * to a thread: a mutex may be unlocked by another coroutine than the one that locked it.
 *
 * The twins that take a context first end early when it is done, with -ECANCELED or -ETIMEDOUT, and
 * then have changed nothing. NULL: they wait as the others do. The caller holds the reference.
 *
 *     cu_wg wg = {0};
 *     for (int i = 0; i < 4; i++) cu_wg_go(&wg, worker, &jobs);
 *     cu_wg_wait(&wg);
 */
#ifndef COPPER_SYNC_H
#define COPPER_SYNC_H

#include <copper/context.h>
#include <copper/go.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* ---- mutex ----
 *
 * Not recursive. Whoever runs may take a free mutex before those who wait; one that has waited for
 * a millisecond is handed it. Uncontended: one atomic operation each, compiled into the caller
 * (copper/sync_inline.h). */
typedef struct cu_mutex {
    uint64_t opaque[6];
} cu_mutex;

/* Waits while another holds it. */
void cu_mutex_lock(cu_mutex *mu);
int cu_mutex_lock_ctx(cu_ctx *ctx, cu_mutex *mu);
/* Never waits. True: it is the caller's. */
bool cu_mutex_try_lock(cu_mutex *mu);
/* Unlocking an unlocked mutex is misuse: reports the caller and aborts. Does not wait. */
void cu_mutex_unlock(cu_mutex *mu);

/* ---- reader-writer mutex ----
 *
 * Many readers or one writer. A writer that waits keeps new readers out, and a writer that unlocks
 * lets all readers in that have come meanwhile: neither starves. So a reader must not lock for
 * reading again while it holds the lock: with a writer between, both wait for ever. Uncontended:
 * one atomic operation each. */
typedef struct cu_rwmutex {
    uint64_t opaque[8];
} cu_rwmutex;

void cu_rwmutex_lock(cu_rwmutex *rw);
int cu_rwmutex_lock_ctx(cu_ctx *ctx, cu_rwmutex *rw);
bool cu_rwmutex_try_lock(cu_rwmutex *rw);
/* Misuse when no writer holds it: reports the caller and aborts. Does not wait. */
void cu_rwmutex_unlock(cu_rwmutex *rw);

void cu_rwmutex_rlock(cu_rwmutex *rw);
int cu_rwmutex_rlock_ctx(cu_ctx *ctx, cu_rwmutex *rw);
/* False also while a writer waits. */
bool cu_rwmutex_try_rlock(cu_rwmutex *rw);
/* Misuse when no reader holds it: reports the caller and aborts. Does not wait. */
void cu_rwmutex_runlock(cu_rwmutex *rw);

/* ---- condition ----
 *
 * A place to wait until what a mutex guards has changed:
 *
 *     cu_mutex_lock(&mu);
 *     while (!is_ready) cu_cond_wait(&cond, &mu);
 */
typedef struct cu_cond {
    uint64_t opaque[4];
} cu_cond;

/* Unlocks mu, waits for a signal, locks mu again. A signal that comes after the caller has unlocked
 * is not missed, and there is no wake-up without one; but others may have locked mu in between. */
void cu_cond_wait(cu_cond *cond, cu_mutex *mu);
/* mu is locked again in any case, however long that takes. */
int cu_cond_wait_ctx(cu_ctx *ctx, cu_cond *cond, cu_mutex *mu);
/* Wakes the one that has waited longest, or nobody. The caller may hold the mutex, or not. */
void cu_cond_signal(cu_cond *cond);
/* Wakes all that wait now. */
void cu_cond_broadcast(cu_cond *cond);

/* ---- once ---- */
typedef struct cu_once {
    uint64_t opaque[6];
} cu_once;

/* The first caller runs fn(arg); the others wait until it is over. When it returns, fn has run, and
 * what it wrote is visible. It counts as over, too, when fn ends its coroutine (cu_exit). Calling
 * it from fn for the same once is misuse: reports the caller and aborts. Afterwards it costs one
 * load. */
void cu_once_do(cu_once *once, void (*fn)(void *), void *arg);

/* ---- semaphore ----
 *
 * A number of units; weighted, and first come, first served: one that asks for many is not passed
 * by others that ask for few. All zero is a semaphore of no units that anybody may add to;
 * COPPER_SEM_INIT(n) has n, and never more. Uncontended: one atomic operation each.
 *
 *     cu_sem slots = COPPER_SEM_INIT(8);
 *     cu_sem_acquire(&slots, 1); ... cu_sem_release(&slots, 1);
 */
typedef struct cu_sem {
    uint64_t opaque[6];
} cu_sem;

#define COPPER_SEM_INIT(n)                                                                         \
    {                                                                                              \
        {                                                                                          \
            (uint64_t)(n) << 1, (uint64_t)(n)                                                      \
        }                                                                                          \
    }
#define COPPER_SEM_MAX (INT64_MAX / 2)

/* The same for one that is not initialised where it is declared. n from 1 to COPPER_SEM_MAX. */
void cu_sem_init(cu_sem *sem, int64_t n);
/* Takes n units, waiting until they are there. 0; -EINVAL at once for n < 0 and for more than the
 * semaphore can ever have. n == 0 waits for those before it, and takes nothing. */
int cu_sem_acquire(cu_sem *sem, int64_t n);
int cu_sem_acquire_ctx(cu_ctx *ctx, cu_sem *sem, int64_t n);
/* Never waits: 0, -EAGAIN when units are missing or others wait, -EINVAL as above. */
int cu_sem_try_acquire(cu_sem *sem, int64_t n);
/* Gives n units back, or adds them. n < 0, more than COPPER_SEM_INIT gave, or more than
 * COPPER_SEM_MAX, is misuse: reports the caller and aborts. Does not wait. */
void cu_sem_release(cu_sem *sem, int64_t n);
/* Units free now; a glance at a moving thing. */
int64_t cu_sem_units(const cu_sem *sem);

/* ---- wait group ----
 *
 * A counter and those who wait for it to reach zero. May be used again at once, also while those
 * who waited for the last zero are still on their way out. */
typedef struct cu_wg {
    uint64_t opaque[6];
} cu_wg;

/* A counter below zero or above INT32_MAX is misuse: reports the caller and aborts. */
void cu_wg_add(cu_wg *wg, int64_t n);
void cu_wg_done(cu_wg *wg);
/* Waits until the counter is zero; returns at once when it is. */
void cu_wg_wait(cu_wg *wg);
int cu_wg_wait_ctx(cu_ctx *ctx, cu_wg *wg);

/* add(1), then start fn(arg), whose end counts as done. The id, or -errno as from cu_go (then
 * nothing was added). The result may be ignored. */
cu_id cu_wg_go(cu_wg *wg, void (*fn)(void *), void *arg);
cu_id cu_wg_go_site(cu_wg *wg, void (*fn)(void *), void *arg, const struct cu_site *site);
#define cu_wg_go(wg, fn, arg) cu_wg_go_site((wg), (fn), (arg), COPPER_SITE())

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#include <copper/sync_inline.h>

#endif
