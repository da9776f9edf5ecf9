/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/select.h: waits for the first of several channel operations, with Go's semantics.
 *
 *     cu_case c[] = { cu_on_recv(jobs, &job), cu_on_send(results, &r), cu_on_done(ctx),
 *                     cu_on_after(50 * COPPER_MS) };
 *     switch (cu_select(c, 4)) {
 *     case 0: if (c[0].err == -EPIPE) return; ...     // jobs is closed and drained
 *     case 3: ...                                     // nothing happened for 50 ms
 *     }
 *
 * Of several cases that are ready one is chosen at random, each as likely as the others. Exactly
 * one case happens. A case with a NULL channel, or with the NULL context, is never ready, which is
 * how a case is switched off.
 *
 * From coroutines select parks; from plain threads it blocks the thread. Not from signal handlers.
 * Values must stay in place until select returns; channels and contexts need the caller's
 * reference.
 */
#ifndef COPPER_SELECT_H
#define COPPER_SELECT_H

#include <copper/chan.h>
#include <copper/context.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define COPPER_SELECT_MAX 65536 /* cases, as in Go */

enum cu_case_kind {
    COPPER_CASE_NEVER,
    COPPER_CASE_SEND,
    COPPER_CASE_RECV,
    COPPER_CASE_DONE,
    COPPER_CASE_AFTER,
};

typedef struct cu_case {
    enum cu_case_kind kind;
    int err; /* of the case that was chosen: 0; -EPIPE as from cu_send and cu_recv; done: cu_ctx_err
              */
    cu_chan *chan;
    cu_ctx *ctx;
    void *value;
    int64_t ns;
} cu_case;

/* The value is read (send) or written (recv; NULL: discarded) if the case is chosen. */
static inline cu_case cu_on_send(cu_chan *c, const void *value)
{
    cu_case on = {COPPER_CASE_SEND, 0, c, NULL, (void *)(uintptr_t)value, 0};
    return on;
}
static inline cu_case cu_on_recv(cu_chan *c, void *value)
{
    cu_case on = {COPPER_CASE_RECV, 0, c, NULL, value, 0};
    return on;
}
static inline cu_case cu_on_done(cu_ctx *ctx)
{
    cu_case on = {COPPER_CASE_DONE, 0, NULL, ctx, NULL, 0};
    return on;
}
/* Ready when the select has waited for ns; at once if that is not positive. */
static inline cu_case cu_on_after(int64_t ns)
{
    cu_case on = {COPPER_CASE_AFTER, 0, NULL, NULL, NULL, ns};
    return on;
}

/* Waits for one of n cases and returns its index. No case that can ever be ready: waits for ever.
 * -EINVAL: n is over COPPER_SELECT_MAX; -ENOMEM: more than 16 cases need memory, and it is out.
 * About as dear as as many channel operations. */
int cu_select(cu_case *cases, size_t n);
/* The same, but never waits: -EAGAIN when none is ready (Go's default). */
int cu_try_select(cu_case *cases, size_t n);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
