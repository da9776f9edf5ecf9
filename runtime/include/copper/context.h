/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/context.h: contexts, as Go's: cancellation, deadlines and values that go down a tree of
 * calls.
 *
 * A context is done when it is cancelled, when its deadline passes, or when its parent is done.
 * Waits whose names end in _ctx end early then, select has cu_on_done, and code that computes asks
 * cu_ctx_err. NULL is the background: never done, without deadline or values.
 *
 *     cu_ctx *ctx = cu_ctx_with_timeout(NULL, 2 * COPPER_SEC);
 *     int err = cu_recv_ctx(ctx, answers, &answer);          // -ETIMEDOUT, -ECANCELED
 *     cu_ctx_end(ctx);                                       // always: cancel, and give it back
 *
 * References: whoever makes a context has one and gives it back with cu_ctx_end; cu_ctx_ref takes
 * another, for a coroutine that may outlive the maker, and cu_ctx_unref gives that back. A child
 * keeps its parent. Calls use the caller's reference: hold one for as long as they last.
 *
 * All functions are for coroutines and plain threads, none for signal handlers. They are
 * thread-safe. Unless said otherwise they do not wait.
 */
#ifndef COPPER_CONTEXT_H
#define COPPER_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef struct cu_ctx cu_ctx;

/* New children of parent (NULL: the background), already done if it is. NULL when memory is out, or
 * the runtime cannot be started. with_deadline: done at a cu_now() time, or when the parent is;
 * with_timeout: ns from now, at once if that is not positive. */
cu_ctx *cu_ctx_with_cancel(cu_ctx *parent);
cu_ctx *cu_ctx_with_deadline(cu_ctx *parent, int64_t deadline_ns);
cu_ctx *cu_ctx_with_timeout(cu_ctx *parent, int64_t ns);
/* Done when the parent is; finds `value` under `key`, by the key's address: use that of a static
 * variable. The value stays the caller's. */
cu_ctx *cu_ctx_with_value(cu_ctx *parent, const void *key, void *value);
/* Never done and without deadline, but with the parent's values: for what must go on. */
cu_ctx *cu_ctx_without_cancel(cu_ctx *parent);

/* Makes ctx and all below it done, by -ECANCELED, and wakes who waits for that. Of what is done
 * already nothing changes. The cause, a negative errno value or what the program likes, goes down
 * too; 0 stands for -ECANCELED. Linear in what is below. Not for contexts made by with_value or
 * without_cancel, which cannot be done on their own (misuse: aborts), nor for NULL (likewise). */
void cu_ctx_cancel(cu_ctx *ctx);
void cu_ctx_cancel_cause(cu_ctx *ctx, int cause);

cu_ctx *cu_ctx_ref(cu_ctx *ctx); /* returns ctx; NULL is allowed */
void cu_ctx_unref(cu_ctx *ctx);  /* NULL is allowed */
/* Cancels what can be cancelled, then unref. NULL is allowed. */
void cu_ctx_end(cu_ctx *ctx);

/* 0 while not done; then -ECANCELED, or -ETIMEDOUT when a deadline passed. One load. */
int cu_ctx_err(const cu_ctx *ctx);
/* Why: what cu_ctx_cancel_cause was given, else the same as cu_ctx_err. */
int cu_ctx_cause(const cu_ctx *ctx);
/* The earliest deadline from here up; 0: none. */
int64_t cu_ctx_deadline(const cu_ctx *ctx);
/* The value nearest to ctx, NULL: none. Linear in the number of contexts above. */
void *cu_ctx_value(const cu_ctx *ctx, const void *key);

/* Waits until ctx is done; cu_ctx_err's value. Parks, or blocks a plain thread. */
int cu_ctx_wait(cu_ctx *ctx);
/* cu_sleep that ends early: 0 after ns, else cu_ctx_err's value. Parks, or blocks. */
int cu_sleep_ctx(cu_ctx *ctx, int64_t ns);

/* Runs fn(arg) in a coroutine of its own once ctx is done; at once if it is. The record is the
 * caller's and must stay in place until fn was started or stop returned. */
struct cu_ctx_after {
    uint64_t opaque[8];
};
void cu_ctx_after_func(cu_ctx *ctx, struct cu_ctx_after *after, void (*fn)(void *), void *arg);
/* True: fn will not run. False: it was started already, or stopped. The caller holds a reference.
 */
bool cu_ctx_after_stop(cu_ctx *ctx, struct cu_ctx_after *after);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
