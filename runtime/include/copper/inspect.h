/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/inspect.h: what exists now, for tools. A stable interface.
 *
 * Live coroutines can be visited without stopping the world: one parked or runnable coroutine at a
 * time is claimed, so that its stack stands still while the visitor reads it; a waker that meets
 * the claim leaves a note and the visitor's side readies the coroutine afterwards. Coroutines that
 * run are reported without registers.
 */
#ifndef COPPER_INSPECT_H
#define COPPER_INSPECT_H

#include <copper/go.h>
#include <copper/hooks.h>
#include <copper/label.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define COPPER_INSPECT_VERSION 1u

enum cu_g_state {
    COPPER_G_RUNNABLE,
    COPPER_G_RUNNING,
    COPPER_G_WAITING,
    COPPER_G_SYSCALL, /* in an announced blocking call, or its P was taken from it */
};

/* What can be waited on: suffix, text, text for many. One list, never reused. */
#define COPPER_OBJECT_KINDS(X)                                                                     \
    X(NONE, "object", "objects")                                                                   \
    X(CHAN, "channel", "channels")                                                                 \
    X(MUTEX, "mutex", "mutexes")                                                                   \
    X(WG, "wait group", "wait groups")                                                             \
    X(RWMUTEX, "rwmutex", "rwmutexes")                                                             \
    X(COND, "condition", "conditions")                                                             \
    X(ONCE, "once", "onces")                                                                       \
    X(SEM, "semaphore", "semaphores")                                                              \
    X(SELECT, "select", "selects") /* several channels */                                          \
    X(FD, "descriptor", "descriptors")                                                             \
    X(CTX, "context", "contexts")                                                                  \
    X(GROUP, "error group", "error groups")                                                        \
    X(POOL, "pool", "pools")

enum cu_object_kind {
#define COPPER_OBJECT_ENUM(name, text, many) COPPER_OBJECT_##name,
    COPPER_OBJECT_KINDS(COPPER_OBJECT_ENUM)
#undef COPPER_OBJECT_ENUM
        COPPER_OBJECT_COUNT
};

/* What a coroutine waits on. Copied while it cannot go away. */
struct cu_object_info {
    enum cu_object_kind kind;
    const void *address;
    char name[32];              /* "" when it has none */
    uint64_t cap, len;          /* channels; descriptor: cap is its number; select: cap is how many
                                   cases it has; name, site and address are its first channel's */
    bool is_closed;             /* channels */
    const struct cu_site *site; /* where it was made; NULL: unknown (mutex, wait group) */
    cu_id owner;                /* (rw)mutex: coroutine that holds it (writes); once: that runs the
                                   function. 0: a plain thread or unknown */
    int64_t count;              /* wait group: counter; semaphore: units left; rwmutex: readers that
                                   hold it */
};

/* Where a coroutine and its ancestors were spawned, kept when those have ended. Each pair of a
 * parent's origin and a place exists once, lives as long as the process and never changes, so
 * pointers may be kept and compared. A coroutine that spawns one like itself (same place, same
 * function) shares its origin with the child. At most 32 generations and COPPER_ORIGINS_MAX origins
 * are remembered: what lies beyond has the origin that is_more. */
#define COPPER_ORIGINS_MAX 16384
struct cu_origin {
    const struct cu_origin *parent; /* NULL: spawned by a plain thread */
    const struct cu_site *site;     /* NULL: unknown */
    void (*entry)(void *);          /* the function that was spawned; NULL with is_more */
    uint32_t depth;                 /* 1: spawned by a plain thread */
    bool is_more;                   /* stands for ancestors that were not remembered */
};

struct cu_g_info {
    uint32_t size; /* sizeof(struct cu_g_info) of the runtime: fields beyond it do not exist */
    cu_id id;
    cu_id parent;  /* who spawned it, 0: a plain thread */
    char name[32]; /* "" when it has none */
    enum cu_g_state state;
    enum cu_wait_reason reason; /* WAITING only */
    int64_t since_ns;           /* when the state began, as of the kernel tick before (4 ms); for
                                   RUNNABLE and RUNNING when its P last looked at the clock */
    int64_t deadline_ns;        /* WAITING only: will wake by itself then; 0: never by itself */
    struct cu_object_info object;
    const struct cu_site *site; /* spawn site; NULL: unknown */
    void (*entry)(void *);      /* the function that was spawned */
    const struct cu_labels *labels;
    uint64_t scope;     /* see cu_scope_enter; 0: none */
    int64_t cpu_ns;     /* time on a P to its last switch, counted while a tool is
                           attached through hooks.h that does not do without
                           (COPPER_HOOKS_NO_CPU_TIME): a clock reading at each switch is
                           worth more than the switch */
    int64_t created_ns; /* as of the kernel tick before */
    bool is_daemon;
    bool is_main;    /* function of a cu_run */
    bool has_regs;   /* regs and stack are valid: it stands still during the visit */
    bool is_started; /* false: never ran; its stack is not attached yet */
    struct cu_saved_regs regs;
    uint64_t stack_lo, stack_hi;    /* usable stack, [lo, hi) */
    const struct cu_origin *origin; /* NULL: unknown */
    const void *joins;              /* the wait group its end counts in (cu_wg_go); NULL: none */
    int32_t tid;                    /* RUNNING: the thread it was seen on; 0: between two */
    int32_t p;                      /* ... and the index of its P; -1: none */
    int32_t locked_tid;             /* the thread that it is locked to (cu_lock_thread); 0: none */
};

/* Calls visit for every live coroutine until it returns false. Coroutines that start or end
 * meanwhile may or may not be seen; each is seen at most once. The visitor must not park, spawn or
 * wait for any coroutine. From plain threads and coroutines (the caller itself is reported as
 * running). Several at a time take turns of a millisecond, so that none waits for a long one to
 * end. Returns the number visited, or -errno. About 100 ns each besides the visitor. */
int64_t cu_inspect_each(bool (*visit)(const struct cu_g_info *g, void *arg), void *arg);
/* What g does, as dumps and profiles call it: "runnable", "running", "syscall", or the text of its
 * wait reason. Any context. */
const char *cu_g_state_text(const struct cu_g_info *g);

/* What the calling thread is doing. Async-signal-safe, takes no lock, about 5 ns. */
enum cu_here_kind {
    COPPER_HERE_THREAD,    /* a thread that is no worker */
    COPPER_HERE_COROUTINE, /* a coroutine is current on this worker */
    COPPER_HERE_SCHEDULER, /* a worker between coroutines */
};
struct cu_here {
    enum cu_here_kind kind;
    cu_id id;                       /* 0 unless COROUTINE */
    const struct cu_labels *labels; /* of the coroutine, or of the plain thread */
    uint64_t stack_lo, stack_hi;    /* of the coroutine; 0, 0 otherwise. The thread may still be on
                                       its own stack for a few instructions: check sp */
};
void cu_inspect_here(struct cu_here *out);

/* Totals since the runtime started. */
struct cu_runtime_stats {
    uint32_t size;
    int32_t maxprocs;
    uint64_t live, created, exited;   /* coroutines */
    uint64_t switches, parks, steals; /* steals: coroutines stolen */
    uint64_t threads;                 /* worker threads alive */
    uint64_t running_ns;              /* time that Ps were running coroutines, summed over P */
    uint64_t spinning_ns;             /* time that workers looked for work */
    char guard_mode[24];              /* "madvise", "mprotect", "canary" */
    uint64_t handoffs[4];             /* P taken away, by enum cu_handoff_cause */
    uint64_t starved;                 /* looks that found a thread without CPU, and left it alone */
    uint64_t preempted;               /* coroutines that found their P gone */
    uint64_t idle_ns;                 /* time that Ps had no owner, summed over P */
    uint64_t threads_max;             /* COPPER_MAXTHREADS */
    uint64_t threads_refused;         /* times that one more was wanted and not to be had */
    uint64_t runnable;                /* coroutines in queues, at a glance */
    uint64_t label_sets;              /* different ones; at most COPPER_LABEL_SETS_MAX */
    uint64_t label_sets_refused;      /* times that one more was wanted */
    uint64_t origins;         /* spawn sites by their ancestors; at most COPPER_ORIGINS_MAX */
    uint64_t origins_refused; /* spawns that count as is_more since there was no room */
};
void cu_runtime_stats_read(struct cu_runtime_stats *out);

/* Scopes: every coroutine spawned by a member, however deep, is a member. For leak assertions.
 * enter: makes a new scope number (> 0) the caller's (coroutine or plain thread) and returns it;
 * *previous gets the one before, to give back to leave. */
uint64_t cu_scope_enter(uint64_t *previous);
void cu_scope_leave(uint64_t previous);

/* Waits until nothing can happen any more by itself among the coroutines of a scope (0: all): each
 * is parked with no deadline, or gone. No sleeping and no polling while coroutines run. The caller
 * is not counted, nor are others that wait here. Coroutines outside of the scope and plain threads
 * may still wake its members: who wants to be sure waits for scope 0, or asks again.
 * 0; -ETIMEDOUT after timeout_ns. Parks, or blocks a plain thread. */
int cu_quiesce(uint64_t scope, int64_t timeout_ns);

/* Reports (stack overflow, misuse, deadlock, cu_dump) print what the runtime knows by itself. A
 * library that can name frames registers itself here; it is called with the registers and the
 * readable stack of the coroutine in question, on any thread. After the last stack of a dump of
 * many it is called with NULL, 0, 0, so that it may free what it kept for the next. NULL
 * unregisters. */
typedef void cu_stack_printer(int fd, const struct cu_saved_regs *regs, uint64_t stack_lo,
                              uint64_t stack_hi);
void cu_report_set_printer(cu_stack_printer *print);
/* For printers: whether the process is about to die, perhaps with locks held. Any context. */
bool cu_report_is_fatal(void);

/* Threads that serve tools and will never wake a coroutine of the program: they do not keep "all
 * coroutines are asleep" from being reported, and are in no profile. begin: the calling thread is
 * one until it ends; 0, -EAGAIN when there are 128 already (it then counts as one of the
 * program's). is: whether thread tid is one; async-signal-safe. */
int cu_service_thread_begin(void);
bool cu_service_thread_is(int32_t tid);
/* Whether thread tid runs coroutines. Names do not tell: a thread that a coroutine creates is called
 * like the one that it ran on. Async-signal-safe. */
bool cu_worker_thread_is(int32_t tid);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
