/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/hooks.h: scheduler events as they happen, for tools. A stable interface.
 *
 * A tool attaches a table of callbacks. An event nobody wants costs one test of one word. Several
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

struct cu_labels;

#define COPPER_HOOKS_VERSION   2u
#define COPPER_HOOK_TABLES_MAX 16

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
    X(QUIESCE, "waiting for quiescence")                                                           \
    X(SELECT, "select")                                                                            \
    X(SELECT_NO_CASES, "select (no cases)")                                                        \
    X(RWMUTEX_RLOCK, "sync.RWMutex.RLock")                                                         \
    X(RWMUTEX_LOCK, "sync.RWMutex.Lock")                                                           \
    X(COND_WAIT, "sync.Cond.Wait")                                                                 \
    X(SEM_ACQUIRE, "semacquire")                                                                   \
    X(ONCE_DO, "sync.Once.Do")                                                                     \
    X(IO_WAIT, "IO wait")                                                                          \
    X(SYSCALL, "syscall")                                                                          \
    X(CTX_DONE, "context done")                                                                    \
    X(GROUP_WAIT, "errgroup wait")                                                                 \
    X(POOL_SUBMIT, "pool submit")                                                                  \
    X(POOL_IDLE, "pool worker idle")                                                               \
    X(POOL_DRAIN, "pool drain")

enum cu_wait_reason {
#define COPPER_WAIT_ENUM(name, text) COPPER_WAIT_##name,
    COPPER_WAIT_REASONS(COPPER_WAIT_ENUM)
#undef COPPER_WAIT_ENUM
        COPPER_WAIT_COUNT
};

/* The text of a reason; "unknown" for a number out of range. Any context. */
const char *cu_wait_reason_text(enum cu_wait_reason reason);

/* Why a coroutine that became ready waited for a P: told with `running`. Suffix, text as shown in
 * the `cause` label of the schedule profile. */
#define COPPER_READY_CAUSES(X)                                                                     \
    X(QUEUE, "queue") /* local queue, runnext included */                                          \
    X(GLOBAL, "global queue")                                                                      \
    X(STOLEN, "stolen")             /* taken from another P's queue */                             \
    X(NO_WORKER, "no idle worker")  /* a sleeping worker had to be woken for it */                 \
    X(HANDOFF, "hand-off")          /* its P was taken from who ran there */                       \
    X(SYSCALL, "back from syscall") /* it lost its P in a blocking call, and waited for one */     \
    X(PREEMPTED, "preempted")       /* it lost its P while it computed, and waited for one */

enum cu_ready_cause {
#define COPPER_CAUSE_ENUM(name, text) COPPER_CAUSE_##name,
    COPPER_READY_CAUSES(COPPER_CAUSE_ENUM)
#undef COPPER_CAUSE_ENUM
        COPPER_CAUSE_COUNT
};
/* "unknown" for a number out of range. Any context. */
const char *cu_ready_cause_text(enum cu_ready_cause cause);

/* Why a P was taken from the thread that had it. */
#define COPPER_HANDOFF_CAUSES(X)                                                                   \
    X(BLOCKING, "cu_blocking")      /* given up by the caller, at once */                          \
    X(SYSCALL, "announced syscall") /* stayed away too long between enter and exit */              \
    X(BLOCKED, "blocking call")     /* the thread sleeps in a call that nobody announced */        \
    X(HOG, "hog")                   /* computes beyond its slice while others wait */

enum cu_handoff_cause {
#define COPPER_HANDOFF_ENUM(name, text) COPPER_HANDOFF_##name,
    COPPER_HANDOFF_CAUSES(COPPER_HANDOFF_ENUM)
#undef COPPER_HANDOFF_ENUM
        COPPER_HANDOFF_COUNT
};
const char *cu_handoff_cause_text(enum cu_handoff_cause cause);

/* Callee-saved registers of a coroutine that does not run: enough to unwind it. */
struct cu_saved_regs {
    uint64_t pc, sp, bp, bx, r12, r13, r14, r15;
};

/* A coroutine that is about to run. Valid during the hook. */
struct cu_resume {
    uint32_t size; /* sizeof(struct cu_resume) of the runtime: fields beyond it do not exist */
    int32_t p;
    cu_id g;
    enum cu_ready_cause cause;
    enum cu_wait_reason reason;     /* what it waited for; NONE: it is new, yielded or lost its P */
    const void *object;             /* ... on which object; NULL: none */
    int64_t parked_ns;              /* when it stopped to wait; 0: it did not wait, or not known
                                       (no tool wanted `running` then) */
    int64_t ready_ns;               /* when it became ready to run; 0: not known */
    cu_id waker;                    /* who readied it; 0: a plain thread, a timer, the poller */
    const struct cu_labels *labels; /* its labels */
    const struct cu_site *site;     /* its spawn site; NULL: unknown */
    void (*entry)(void *);
    struct cu_saved_regs regs;   /* where it stopped; pc 0: it never ran */
    uint64_t stack_lo, stack_hi; /* its usable stack, [lo, hi); 0, 0: it never ran */
};

/* Any member may be NULL. g is the coroutine's id, p the P's index, now a cu_now() value, at times
 * of up to 0.6 us before: cu_hooks_now. What happens to a coroutine on another thread than what
 * caused it has a later time, by a nanosecond at least; on one thread times may be equal, and never
 * go back.
 * by: the coroutine that caused it, 0 for a plain thread or the scheduler. p of parked and exited
 * is -1 where the coroutine did so without one, having lost it.
 *
 * On which stack: created, ready, released and procs_changed run on that of who causes them;
 * parked, yielded, exited, syscall_begin, syscall_end, preempted and contended on that of g itself;
 * running on that of the coroutine that g follows or on the worker's own; the others on any. */
struct cu_hooks {
    uint32_t version; /* COPPER_HOOKS_VERSION */
    uint32_t size;    /* sizeof(struct cu_hooks) */
    void (*created)(void *tool, int64_t now, cu_id g, cu_id parent, const struct cu_site *site);
    void (*ready)(void *tool, int64_t now, cu_id g, cu_id by);
    void (*running)(void *tool, int64_t now, const struct cu_resume *resume);
    void (*parked)(void *tool, int64_t now, cu_id g, int p, enum cu_wait_reason reason,
                   const void *object, int64_t deadline_ns);
    void (*yielded)(void *tool, int64_t now, cu_id g, int p);
    void (*exited)(void *tool, int64_t now, cu_id g, int p);
    void (*stolen)(void *tool, int64_t now, int thief_p, int victim_p, uint32_t count);
    /* A lock was got after waiting: by g (0: a plain thread), on its stack. */
    void (*contended)(void *tool, int64_t now, cu_id g, const void *object, int64_t waited_ns);
    /* A lock was given back by g (0: a plain thread) for which others waited. waited_ns: how long
     * those that this lets go on have waited, in sum: the delay that the holder is to blame for. */
    void (*released)(void *tool, int64_t now, cu_id g, const void *object, int64_t waited_ns);
    /* An announced blocking call begins and ends: cu_syscall_enter/exit, cu_blocking, the wrapped
     * calls. p of end: -1 when the P was lost meanwhile; then `running` follows once there is one.
     */
    void (*syscall_begin)(void *tool, int64_t now, cu_id g, int p);
    void (*syscall_end)(void *tool, int64_t now, cu_id g, int p);
    /* P p was taken from g, which goes on on its thread `tid` without one. On any thread. */
    void (*handoff)(void *tool, int64_t now, int p, cu_id g, int32_t tid,
                    enum cu_handoff_cause cause);
    /* g found out that it lost P p and waits for another (`running` with cause PREEMPTED follows),
     * or gave it up at a safe point. */
    void (*preempted)(void *tool, int64_t now, cu_id g, int p);
    void (*worker_started)(void *tool, int64_t now, int32_t tid);
    void (*worker_stopped)(void *tool, int64_t now, int32_t tid);
    void (*p_started)(void *tool, int64_t now, int p, int32_t tid);
    void (*p_stopped)(void *tool, int64_t now, int p);
    /* A wait is over: resume is about to run (its waker is not told here), having waited for
     * waited_ns from when it stopped until it became ready. Of waits shorter than rate_ns, which
     * cu_hooks_wait_rate set, only some are told, each with the probability waited_ns / rate_ns: so
     * it stands for rate_ns of waiting. Cheap where `running` is not: what is not told costs two
     * readings of the processor's counter. */
    void (*waited)(void *tool, int64_t now, const struct cu_resume *resume, int64_t waited_ns,
                   int64_t rate_ns);
    uint64_t options; /* of COPPER_HOOKS_... */
    /* cu_set_maxprocs changed how many P there are, to procs. In the order of the changes. */
    void (*procs_changed)(void *tool, int64_t now, int procs);
};

/* cu_g_info.cpu_ns need not count for this tool: saves a reading of the clock at each switch. */
#define COPPER_HOOKS_NO_CPU_TIME UINT64_C(1)

/* Attaches. The table is not copied: it must live until detached. 0; -EINVAL (version or size; a
 * smaller size is a table of an older header, whose missing members are NULL);
 * -ENOSPC over COPPER_HOOK_TABLES_MAX. From any thread or coroutine, before the runtime starts too.
 */
int cu_hooks_attach(const struct cu_hooks *hooks, void *tool);
/* From which length on every wait is told to `waited` of an attached table; at first 0: all are,
 * but those that took no time at all. 0, -ENOENT, -EINVAL (negative). */
int cu_hooks_wait_rate(const struct cu_hooks *hooks, void *tool, int64_t rate_ns);
/* The time that an event would have which were told here and now: cu_now(), or shortly before, as
 * that of a coroutine's or worker's event is taken from the processor's counter and errs to that
 * side. What a tool says of the calling thread itself is in the right order with what it was told
 * when it has this time. Any thread; in a hook, what it was told is the time. */
int64_t cu_hooks_now(void);
/* Detaches and waits out a grace period. Not from within a hook. 0, -ENOENT. */
int cu_hooks_detach(const struct cu_hooks *hooks, void *tool);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
