/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the runtime's words and structures. Read this first.
 *
 * Glossary
 *   G          a coroutine: a control block (struct cu__g) and, from its first run on, a stack
 *   M          an OS thread that runs coroutines (struct cu__m)
 *   P          the right to run coroutines, with a queue of them (struct cu__p). There are
 *              cu_maxprocs(). A thread without a P runs no coroutine.
 *   park       G stops until somebody makes it ready
 *   ready      G goes from waiting to runnable and into a queue
 *   runnext    the slot of a P for the G that was made ready last: it runs next, while its data
 *              are warm
 *   spinning   an M that has a P but no G and looks for one
 *   keeper     the one sleeping M whose sleep ends when the earliest timer is due
 *   claim      an inspector holds a G still while it reads it
 *   inside     an M runs the scheduler's code: its P cannot be taken (ownership.h)
 *   detached   a G that runs on its M without a P: it gave it up, or it was taken
 *
 * States of a G, in struct cu__g.state (gstate.h has the transitions)
 *
 *      DEAD ──cu_go──> RUNNABLE ──run──> RUNNING ──exit──> DEAD
 *                         ^  ^             │  │
 *                         │  └────yield────┘  │
 *                         └─ready── WAITING <─┘ park
 *
 *   DEAD      in a free list of registry.c; no stack. The slot is never given back to the kernel,
 *             so that a stale pointer or id can always be looked at.
 *   RUNNABLE  in exactly one queue (runnext, ring, global), or in the hands of who moves it between
 *             queues. Its stack stands still. Whoever dequeues it owns it.
 *   RUNNING   owned by the M whose m->g it is. Nobody else writes its fields, reads its stack.
 *   WAITING   in the wait list of an object, or of several, or in a timer heap. Its stack stands
 *             still; the owner of the list's lock decides who readies it, exactly once; where
 *             several may do it, who wins its race (race.h).
 *   +CLAIMED  (RUNNABLE or WAITING) an inspector reads its fields and stack. Nobody runs it:
 *   +PENDING  who would have run or readied it meanwhile sets this bit and forgets it; the
 *             inspector puts it into a queue when it is done.
 *
 * A G becomes RUNNABLE or WAITING only after its M has left its stack: what to do with it is noted
 * in m->after and done by whoever runs next on that M (cu__arrived in sched.c).
 */
#ifndef COPPER_RUNTIME_TYPES_H
#define COPPER_RUNTIME_TYPES_H

#include <copper/go.h>
#include <copper/hooks.h>
#include <copper/inspect.h>
#include <copper/label.h>
#include <pthread.h>

#include "arch.h"
#include "base.h"
#include "lock.h"
#include "switch.h"

#define COPPER_PROCS_MAX        256u   /* P */
#define COPPER_THREADS_MAX      65536u /* M */
#define COPPER_THREADS_DEFAULT  256u
#define COPPER_COROUTINES_MAX   (1u << 24) /* G: slots that an id can name */
#define COPPER_RUNQ_SIZE        256u       /* G in the ring of a P; a power of two */
#define COPPER_NAME_SIZE        32u        /* bytes, with the end */
#define COPPER_FAIR_TICKS       61u        /* every so many, the global queue goes first */
#define COPPER_TIMER_TICKS      16u        /* every so many, the clock is read */
#define COPPER_ALL_TIMERS_TICKS 256u       /* every so many, the timers of all P; of the above */
#define COPPER_NO_WAKE          INT64_MAX  /* no timer */

struct cu__m;
struct cu__p;
struct cu__selection;
struct cu__scope;
struct cu__at_end;

/* Something to be done at a time. A pairing heap's node: the smallest deadline is the root.
 * lock: p->timers.lock, while it is in a heap; its owner's otherwise */
struct cu__timer {
    int64_t deadline_ns;
    /* Called once when due, without locks held, by any worker, on any stack: may neither park nor
     * rely on who runs there. By then the timer is in no heap, and may be in use again: `tag` is
     * what it was when it was taken out. */
    void (*fire)(struct cu__timer *t, uint64_t tag, int64_t now_ns);
    uint64_t tag;
    struct cu__timer *child, *next, *prev; /* prev: left sibling, or parent of a first child */
    struct cu__p *p;                       /* any: atomic; whose heap; NULL when in none */
    bool is_silent;                        /* nothing but the end of waiting for quiescence */
};

/* A stack's descriptor; lives as long as the process (stack.c). */
struct cu__stack {
    struct cu__stack *next; /* in a free list */
    char *lo, *hi;          /* usable bytes [lo, hi); the guard lies below lo */
    uint32_t class;         /* log2 of hi - lo */
    uint16_t colour_bytes;  /* the first frame starts that far below hi */
    uint8_t guard;          /* enum cu__guard */
    bool is_cold;           /* its pages were given back */
};

/* Somebody who waits for an object: a coroutine (the record is part of its G) or a plain thread (it
 * is on its stack), linked into the object's list. lock: the object's, until is_queued is false;
 * then the waker's, until it wakes; then the waiter's. */
struct cu__waiter {
    struct cu__waiter *next, *prev;
    struct cu__g *g;       /* NULL: a plain thread */
    struct cu__race *race; /* NULL: only who takes it out of the list ends the wait */
    int64_t tag;           /* mutex: since when; quiescence: of which scope */
    void *value;           /* channels: what to send from or receive into */
    uint32_t thread_wake;  /* any: atomic; plain threads sleep on it */
    int result;
    bool is_queued; /* writer: lock; inspectors look */
    bool is_timed;  /* in the list of a timer's channel */
};

struct cu__waiters {
    struct cu__waiter *first, *last;
};

/* A wait that several may end: race.h. */
struct cu__race {
    uint64_t word;             /* any: atomic; odd: open */
    struct cu__waiter *winner; /* writer: who won; the record it was won by, NULL: the deadline */
    uint32_t thread_wake;      /* any: atomic; a plain thread sleeps on it */
    uint32_t gate; /* any: atomic; a coroutine whose records are in several lists: race.h */
};

/* Why a coroutine waits; written by itself before it parks, and read by inspectors. */
struct cu__wait {
    enum cu_wait_reason reason;
    enum cu_object_kind kind;
    const void *object;
    int64_t deadline_ns;     /* it ends by itself then; 0: never */
    bool is_timed_elsewhere; /* ... by a timer that is not the coroutine's own */
    bool is_gated;           /* no lock keeps wakers away until it has left its stack: race.h */
};

/* Fields marked "any" are read by inspectors while G runs: relaxed atomics, and checked against
 * the id afterwards.
 *
 * In order of use: a coroutine that starts, runs, waits and ends touches the first four cache
 * lines, which often come from another processor. What few need comes after them. */
struct cu__g {
    uint32_t state;             /* any: atomic, gstate.h */
    uint32_t slot;              /* constant */
    struct cu__context context; /* owner: who runs or claims G */
    struct cu__stack *stack;    /* any; NULL before the first run */
    struct cu__g *next;         /* lock: of the list it is in */
    void (*entry)(void *);      /* any */
    void *arg;
    cu_id id;     /* any; 0 when dead */
    cu_id parent; /* any */

    const struct cu_site *site cache_aligned; /* any */
    const struct cu_origin *origin;           /* any */
    const struct cu_labels *labels;           /* any */
    struct cu__scope *scope;                  /* owner */
    uint64_t scope_id;                        /* any */
    struct cu_wg *wg;                         /* owner; told when G ends */
    int64_t since_ns;                         /* any */
    int64_t created_ns;                       /* any; while dead: the next id */

    struct cu__waiter waiter cache_aligned; /* in an object's list while it waits there */

    struct cu__wait wait cache_aligned; /* owner */
    int saved_errno;
    uint16_t syscall_depth; /* owner, read by any; announced blocking calls around each other */
    uint8_t stack_class;
    bool has_name;           /* owner */
    bool is_locked;          /* owner, read by any; only its locked_m runs it */
    bool is_detached;        /* owner; wants no P until it parks or is back */
    uint8_t lost_cause;      /* owner; enum cu_ready_cause, SYSCALL or PREEMPTED; 0: not lost */
    bool has_canary;         /* owner; its stack has no guard pages */
    bool is_measured;        /* owner; for the census of stacks */
    bool is_daemon, is_main; /* any */
    bool owes;               /* owner; at_end is not empty */
    int64_t run_ns;          /* any; time on a P while somebody counts */
    const struct cu_origin *child; /* owner; origin of the child it spawned last */

    struct cu__race race cache_aligned;
    struct cu__m *locked_m;             /* constant while is_locked */
    struct cu__at_end *at_end;          /* owner; what calls under way owe if it ends in them */
    const struct cu__selection *select; /* owner; the select it waits in */
    int64_t parked_ns, ready_ns;        /* owner; while a tool wants to know, see events.h */

    struct cu__timer timer cache_aligned; /* one line: a heap's work is misses */
    uint64_t name[COPPER_NAME_SIZE / 8];  /* any: by words */
    int64_t parked_ticks, ready_ticks;    /* owner; while a tool wants to know */
    cu_id waker;                          /* owner; the same */
    uint32_t noted_serial;                /* owner; the same */
};

/* Asks for the lines that a coroutine touches from start to end, for who will soon run or make g.
 * They are on their way while the one before it is seen to, instead of one after the other. Any
 * pointer will do. */
static inline void cu__g_prefetch(const struct cu__g *g)
{
    for (size_t line = 0; line < offsetof(struct cu__g, race); line += 64) {
        cu__prefetch_to_write((uintptr_t)g + line);
    }
}

/* What to do with the G that was just left, once its stack is no longer in use. */
enum cu__after_kind {
    COPPER_AFTER_NOTHING,
    COPPER_AFTER_YIELD,
    COPPER_AFTER_PARK,
    COPPER_AFTER_EXIT,
};
struct cu__after {
    enum cu__after_kind kind;
    struct cu__g *g;
    struct cu__lock *unlock; /* PARK: released once G can be readied; may be NULL */
};

/* The longest chain of stacks a P keeps warm. */
#define COPPER_STACK_CACHE   256u
#define COPPER_STACK_CREDITS 128u /* reservations a P may hold for coroutines to come */
#define COPPER_G_CACHE       256u

struct cu__counters { /* writer: who owns the P; read by anybody */
    uint64_t created, exited, switches, parks, steals, running_ns, spinning_ns;
};

/*
 * The right to run coroutines.
 *
 * owner says which M holds it. It changes by compare-and-swap only, because a P is a right and not
 * a thread: sysmon takes it from a thread that is stuck in a system call or hogs it, and the
 * taking, its abandoning and the thread's own giving back all compete for this one word
 * (ownership.h). What is declared "owner" below may be touched by that M alone, and only inside; by
 * sysmon between taking a P and giving it to another M.
 */
struct cu__p {
    uintptr_t owner;           /* any: atomic, by CAS: ownership.h */
    uint32_t index;            /* constant */
    uint32_t tick;             /* writer: owner; counts coroutines run */
    int64_t clock_ns;          /* owner: last reading, for states that need no exact time */
    int64_t clock_ticks;       /* owner: when clock_ns was read, where ticks.h was read too */
    int64_t switched_ns;       /* owner: when the current G began to run, while somebody counts */
    uint64_t draws;            /* owner: state of the generator of events.h */
    enum cu_ready_cause cause; /* owner: how the last picked G was found */
    uint64_t random;           /* any: atomic; owner, or who was it a moment ago */
    uint32_t is_picking;       /* writer: owner; read by who opens an inspection */
    struct cu__stack *stacks;  /* owner: warm stacks of the default size */
    struct cu__g *free_gs;     /* owner */
    uint32_t stacks_count, stack_credits, free_gs_count, trim_tick; /* owner */
    uint32_t census_left;  /* owner; stacks to hand out until one is measured */
    int64_t busy_since_ns; /* any: when it last found work; 0 while idle */
    struct cu__counters counters;
    int64_t handed_ns;       /* owner: when it was last taken from somebody */
    bool is_clear;           /* owner: it is to go, and what it had is with others (procs.c) */
    bool is_alive;           /* lock: sched.lock; false: it went, or never was */
    int64_t idle_since_ns;   /* lock: sched.lock */
    struct cu__p *next_idle; /* lock: sched.lock */

    struct cu__g *runnext cache_aligned; /* any: atomic */
    uint32_t head;                       /* any: atomic; advanced by whoever takes */
    uint32_t tail;                       /* writer: owner */
    struct cu__g *ring[COPPER_RUNQ_SIZE];

    struct {
        struct cu__lock lock;
        struct cu__timer *root; /* lock */
        int64_t next_ns;        /* writer: lock; read by anybody: root's deadline */
        uint32_t counted;       /* writer: lock; timers that are not silent */
        bool is_closed;         /* lock; it takes no more, because its P goes */
    } timers cache_aligned;
} cache_aligned;

struct cu__supply_counters {
    uint64_t handoffs[COPPER_HANDOFF_COUNT]; /* any: atomic */
    uint64_t preempted;                      /* any: atomic */
    uint64_t starved, refused;               /* writer: sysmon */
    uint64_t idle_ns;                        /* writer: sched.lock */
};

struct cu__m {
    struct cu__g *g;   /* writer: itself; read by its own signal handlers: what runs, or NULL */
    struct cu__p *p;   /* itself; while a coroutine runs: a P that was ours last, which may be gone;
                          on the thread's own stack: ours, or NULL */
    uint32_t inside;   /* writer: itself; any: atomic; 1: sysmon must leave our P alone */
    uint32_t syscalls; /* writer: itself; any: atomic; odd in an announced blocking call: see
                        * cu__is_in_call */
    struct cu__context context; /* the thread's own stack: the scheduler's loop */
    struct cu__after after;     /* itself */
    int *errno_address;         /* constant: this thread's errno */
    struct cu__g *picked;       /* itself: RUNNING, but has no stack yet; for cu__find_work */
    bool is_spinning;           /* itself, and who wakes it */
    bool is_looking;            /* itself: what it readies meanwhile is for itself first */
    bool must_end;              /* itself: a coroutine ended that had this thread to itself */
    struct cu__g *locked_g;     /* itself: the only one that it may run */
    uint32_t lock_depth;        /* itself */
    uint32_t telling;           /* writer: itself; any: atomic; odd: inside hooks (hooks.c) */
    struct cu__p *next_p;       /* lock: sched.lock; the P that somebody hands over */
    struct cu__m *next;         /* lock: sched.lock; in a list of idle, waiting or unused ones */
    bool is_idle;               /* writer: sched.lock; any: atomic; rests */
    bool is_starting;           /* lock: sched.lock; one more, on its way to the idle ones */
    uint32_t wake;              /* any: atomic; it sleeps on this word */
    unsigned char *asked;       /* lock: sched.lock; its thread's byte of tls.h; NULL: not there */
    uint32_t asked_tick;        /* any: atomic; its P's tick when it was asked */
    int64_t told_ns;            /* itself: the time of the last event that it told */
    int64_t anchor_ns;          /* itself: what the clock said... */
    uint64_t anchor_ticks;      /* ... when the counter stood here: tell.c */
    uint32_t index;
    int32_t tid;
    pthread_t thread;
};

/* The one instance of what all M share. Counters beside the locks they need. */
struct cu__sched {
    struct cu__lock lock;
    struct cu__g *global_first, *global_last;   /* lock */
    uint32_t global_count cache_aligned;        /* writer: lock; read by anybody */
    uint32_t idle_count;                        /* writer: lock; idle P */
    uint32_t give_way;                          /* writer: lock; M that wait for a P */
    uint32_t spinning_count;                    /* any: atomic */
    struct cu__p *idle_ps;                      /* lock */
    struct cu__m *idle_ms;                      /* lock */
    uint32_t idle_ms_count;                     /* lock */
    uint32_t starting_count;                    /* lock; M that have not come to rest yet */
    struct cu__m *waiting_first, *waiting_last; /* lock; M with a coroutine that want a P */
    struct cu__m *keeper;                       /* any: atomic, by CAS */
    int64_t keeper_until_ns;                    /* writer: keeper; read by who adds timers */
    uint32_t keeper_naps;                       /* any: atomic; it sleeps beside the poller */
    uint32_t inspecting_count;                  /* any: atomic; inspections under way */
    uint32_t claims_open;                       /* any: atomic; not 0: coroutines may be claimed */
    uint32_t quiesce_count;      /* any: atomic; who waits for everything to be idle */
    uint32_t detached_count;     /* any: atomic; coroutines that run without a P */
    uint32_t procs;              /* writer: lock; how many P are wanted: those below are to stay */
    uint32_t alive_count;        /* writer: lock; P that are there: also those that are to go */
    uint32_t ps_seen;            /* writer: lock; all P that are alive are below */
    uint32_t ps_used;            /* writer: lock; all P that ever were are below */
    uint32_t is_started;         /* any: atomic */
    uint32_t threads;            /* any: atomic; workers alive, and those that are being made */
    uint32_t workers_count;      /* any: atomic; threads that are workers by now */
    uint32_t threads_max;        /* constant once started */
    bool is_handoff_on;          /* constant once started */
    uint32_t ms_used;            /* lock; how many of ms were ever in use */
    struct cu__m *unused_ms;     /* lock; of those, the ones whose threads ended */
    struct cu__counters foreign; /* any: atomic adds; what plain threads did */
    struct cu__supply_counters supply;
    struct cu__p *ps; /* constant once started; COPPER_PROCS_MAX of them, most never touched */
    struct cu__m *ms; /* constant once started; threads_max of them */
};
extern hidden struct cu__sched cu__sched;

/* p is one too many: whoever has it is to give it up soon (procs.c). */
static inline bool cu__p_is_surplus(const struct cu__p *p)
{
    return unlikely(p->index >= load_relaxed(&cu__sched.procs));
}

#endif
