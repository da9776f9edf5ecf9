/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/sync.h: mutex and wait group that park coroutines instead of blocking threads.
 *
 * All zero is ready to use; no destroy. They may live on a stack or in a struct, and must not be
 * copied once used. They work from plain threads too (which then block on a futex).
 * None may be called from a signal handler.
 *
 *     cu_wg wg = {0};
 *     for (int i = 0; i < 4; i++) cu_wg_go(&wg, worker, &jobs);
 *     cu_wg_wait(&wg);
 */
#ifndef COPPER_SYNC_H
#define COPPER_SYNC_H

#include <copper/go.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef struct cu_mutex {
    uint64_t opaque[6];
} cu_mutex;

typedef struct cu_wg {
    uint64_t opaque[6];
} cu_wg;

/* Not recursive. Locking parks while another holds it. Unlocking an unlocked mutex is misuse:
 * reports the caller and aborts. Uncontended: one atomic operation each. */
void cu_mutex_lock(cu_mutex *mu);
bool cu_mutex_try_lock(cu_mutex *mu);
void cu_mutex_unlock(cu_mutex *mu);

/* A counter and those who wait for it to reach zero. A negative counter is misuse: aborts. */
void cu_wg_add(cu_wg *wg, int64_t n);
void cu_wg_done(cu_wg *wg);
void cu_wg_wait(cu_wg *wg);

/* add(1), then start fn(arg), whose end counts as done. The id, or -errno (then nothing was
 * added). The result may be ignored. */
cu_id cu_wg_go(cu_wg *wg, void (*fn)(void *), void *arg);
cu_id cu_wg_go_site(cu_wg *wg, void (*fn)(void *), void *arg, const struct cu_site *site);
#define cu_wg_go(wg, fn, arg) cu_wg_go_site((wg), (fn), (arg), COPPER_SITE())

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
