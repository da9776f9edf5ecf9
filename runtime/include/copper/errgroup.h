/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/errgroup.h: coroutines that work on parts of one task, the first error of which counts
 * (golang.org/x/sync/errgroup).
 *
 *     cu_group group = {0};
 *     for (int i = 0; i < n; i++) cu_group_go(&group, fetch, &urls[i]);   // int fetch(void *)
 *     int error = cu_group_wait(&group);
 *
 * All zero is ready to use; no destroy. One group is for one task: its error stays.
 * All functions may be called from coroutines and from plain threads, not from signal handlers, and
 * are thread-safe. The waiting ones park, or block a plain thread.
 */
#ifndef COPPER_ERRGROUP_H
#define COPPER_ERRGROUP_H

#include <copper/context.h>
#include <copper/go.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef struct cu_group {
    uint64_t opaque[20];
} cu_group;

/* Starts fn(arg) as a coroutine of the group, waiting first while as many run as the limit allows.
 * What it returns, if not 0, is its error: by convention negative errno. Ending its coroutine
 * (cu_exit) counts as 0.
 * 0; -ENOMEM or -EAGAIN as from cu_go: that is the group's error, too, so the result may be
 * ignored. */
int cu_group_go(cu_group *group, int (*fn)(void *), void *arg);
int cu_group_go_site(cu_group *group, int (*fn)(void *), void *arg, const struct cu_site *site);
#define cu_group_go(group, fn, arg) cu_group_go_site((group), (fn), (arg), COPPER_SITE())

/* Never waits: -EAGAIN, and no error of the group, when the limit is reached. */
int cu_group_try_go(cu_group *group, int (*fn)(void *), void *arg);
int cu_group_try_go_site(cu_group *group, int (*fn)(void *), void *arg, const struct cu_site *site);
#define cu_group_try_go(group, fn, arg) cu_group_try_go_site((group), (fn), (arg), COPPER_SITE())

/* At most n coroutines of the group at once; n < 0: as many as asked for, as at first; 0: none may
 * be started. While some run, it is misuse: reports the caller and aborts. */
void cu_group_set_limit(cu_group *group, int64_t n);

/* Makes the group's context, below `parent` (NULL: the background): it is cancelled, with the error
 * as its cause, at the first error, and at the end of cu_group_wait, which also drops it: take a
 * reference to use it after that. Once, before the first coroutine. NULL when memory is out. */
cu_ctx *cu_group_with_ctx(cu_group *group, cu_ctx *parent);

/* Waits until all have ended. The first error, or 0. One caller, at the end. */
int cu_group_wait(cu_group *group);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
