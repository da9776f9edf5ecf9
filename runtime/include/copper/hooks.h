/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/hooks.h: scheduler events as they happen, for tools. A stable interface.
 *
 * A tool attaches a table of callbacks. An event nobody wants costs one test of one byte. Several
 * tools may be attached. Detaching waits until no callback of the table runs any more, so that a
 * tool may free its state or unload afterwards.
 *
 * A hook runs on the scheduler's path, on the thread where the event happens, possibly on a small
 * scheduler stack: it may not block, allocate, spawn, take a lock that any coroutine can hold, or
 * call any parking function. It may call cu_now, cu_inspect_here and cu_labels_*.
 */
#ifndef COPPER_HOOKS_H
#define COPPER_HOOKS_H

#include <copper/go.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define COPPER_HOOKS_VERSION   1u
#define COPPER_HOOK_TABLES_MAX 8

/* Why a coroutine waits: enum suffix, text as shown in dumps, profiles and leak reports. One list,
 * never reused; Go's words where Go has them. */
#define COPPER_WAIT_REASONS(X)                                                                     \
    X(NONE, "")                                                                                    \
    X(CHAN_RECV, "chan receive")                                                                   \
    X(CHAN_SEND, "chan send")                                                                      \
    X(CHAN_RECV_NIL, "chan receive (nil chan)")                                                    \
    X(CHAN_SEND_NIL, "chan send (nil chan)")                                                       \
    X(SLEEP, "sleep")                                                                              \
    X(MUTEX_LOCK, "sync.Mutex.Lock")                                                               \
    X(WG_WAIT, "sync.WaitGroup.Wait")                                                              \
    X(QUIESCE, "waiting for quiescence")

enum cu_wait_reason {
#define COPPER_WAIT_ENUM(name, text) COPPER_WAIT_##name,
    COPPER_WAIT_REASONS(COPPER_WAIT_ENUM)
#undef COPPER_WAIT_ENUM
        COPPER_WAIT_COUNT
};

/* The text of a reason; "unknown" for a number out of range. Any context. */
const char *cu_wait_reason_text(enum cu_wait_reason reason);

/* Why a coroutine that became ready waited for a P: told with `running`. */
enum cu_ready_cause {
    COPPER_CAUSE_QUEUE,  /* local queue, runnext included */
    COPPER_CAUSE_GLOBAL, /* global queue */
    COPPER_CAUSE_STOLEN, /* taken from another P's queue */
    COPPER_CAUSE_COUNT
};

/* Any member may be NULL. g is the coroutine's id, p the P's index, now a cu_now() value.
 * by: the coroutine that caused it, 0 for a plain thread or the scheduler. */
struct cu_hooks {
    uint32_t version; /* COPPER_HOOKS_VERSION */
    uint32_t size;    /* sizeof(struct cu_hooks) */
    void (*created)(void *tool, int64_t now, cu_id g, cu_id parent, const struct cu_site *site);
    void (*ready)(void *tool, int64_t now, cu_id g, cu_id by);
    void (*running)(void *tool, int64_t now, cu_id g, int p, enum cu_ready_cause cause);
    void (*parked)(void *tool, int64_t now, cu_id g, int p, enum cu_wait_reason reason,
                   const void *object, int64_t deadline_ns);
    void (*yielded)(void *tool, int64_t now, cu_id g, int p);
    void (*exited)(void *tool, int64_t now, cu_id g, int p);
    void (*stolen)(void *tool, int64_t now, int thief_p, int victim_p, uint32_t count);
    void (*contended)(void *tool, int64_t now, cu_id g, const void *object, int64_t waited_ns);
    void (*worker_started)(void *tool, int64_t now, int32_t tid);
    void (*worker_stopped)(void *tool, int64_t now, int32_t tid);
    void (*p_started)(void *tool, int64_t now, int p, int32_t tid);
    void (*p_stopped)(void *tool, int64_t now, int p);
};

/* Attaches. The table is not copied: it must live until detached. 0; -EINVAL (version or size);
 * -ENOSPC over COPPER_HOOK_TABLES_MAX. From any thread or coroutine, before the runtime starts too.
 */
int cu_hooks_attach(const struct cu_hooks *hooks, void *tool);
/* Detaches and waits out a grace period. Not from within a hook. 0, -ENOENT. */
int cu_hooks_detach(const struct cu_hooks *hooks, void *tool);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
