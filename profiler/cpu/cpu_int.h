/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what the parts of the CPU profile share.
 *
 *     cpu.c         a client's window: waits, then turns counts into a profile
 *     collector.c   the thread that keeps the sampler going and counts records into open windows
 *     cpu_timer.c   a timer for each thread, in slots
 *     cpu_perf.c    perf events for the rates that timers cannot reach
 *     threads.c     which threads there are, and where their stacks are
 *     cpu_install.c which signal, and what one costs
 *     cpu_signal.c  the handler
 *
 * ## How much a sample weighs
 *
 * A sample carries the CPU time it stands for (weight_ns), and a window adds these up by stack. Only
 * when the window closes do they become counts: walking the stacks once with a running remainder
 * (started at random in [0, period)), each gets a whole number of the *client's* periods. The total
 * is kept to one period, no stack is favoured, and value[1] = value[0] x period in every sample. So
 * the sampler may run faster or slower than a client asked for, and change its rate meanwhile.
 *
 * A kernel's CPU timers expire at its tick only (4 ms at HZ=250), so a thread's samples are taken
 * in one of three ways:
 *
 * - *Tick by tick*, for the first COPPER_TICKWISE_NS of CPU time of a thread: each tick that finds the
 *   thread running is a sample that weighs one tick. Ticks fall on running threads in proportion to
 *   the time they run, so this needs no end correction: threads that live for less than a tick are
 *   hit as often as they should be. With due times on a thread's own clock instead, all that falls
 *   due after a thread's last tick is lost, half a tick for each thread: 50 % of a thread that lives
 *   for one tick. What a tick weighs is measured, window by window: schedulers that switch between
 *   ticks make the hits of short threads uneven, and virtual machines lose ticks. The CPU time of the
 *   process by the kernel's clock, less what samples by clock, our own threads and threads that
 *   cannot be sampled account for, is what the window's ticks stand for together. Where ticks
 *   are too few for that, it is the mean of what threads used between two ticks.
 * - *By its clock* afterwards: a timer every period of the thread's CPU clock with a random first
 *   expiry; a sample weighs (1 + overrun) periods. This counts the clock itself, so there is no
 *   sampling noise in a thread's total, however it sleeps and wakes; what its end may lose (at most
 *   a tick in the mean) is small against what it has used by then.
 * - *By a perf event*, where more than the tick is asked for and the kernel allows it: signals come at
 *   the rate asked for while the thread is at user level, and the timer goes on tick by tick. The
 *   ticks measure, by the thread's clock: one that finds the thread in a system call is a sample of
 *   the time since the tick before; any other enters that time as user level. When the window closes,
 *   what was entered as user level is shared out among the stacks found there, most of them by the
 *   perf event. So a thread's total is its clock's, user level has the rate asked for, system calls
 *   have the kernel's tick, and neither pays for the other. Perf events that count the kernel too
 *   would need privileges, and post signals to threads that are about to sleep: their calls would
 *   fail with EINTR, which timers never cause, since the kernel posts those on its way out.
 */
#ifndef COPPER_CPU_INT_H
#define COPPER_CPU_INT_H

#include "profiles.h"
#include "ring.h"
#include "stack_table.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/types.h>
#include <time.h>

#define COPPER_SLOTS_MAX     4096u     /* threads sampled at once, with those not tidied up yet */
#define COPPER_SLOTS_CHUNK   64u       /* rings mapped at once */
#define COPPER_TICKWISE_NS   200000000 /* see above */
#define COPPER_TICKWISE_INTERVAL_NS 1000 /* due at each tick for whoever ran at all since the last */
#define COPPER_SPAN_TICKS_MAX 16 /* more between two ticks: the signal was blocked, not the tick late */
#define COPPER_HANDLER_NS_MAX 100000 /* a handler that took longer was interrupted itself */
#define COPPER_COPY_MAX      (32u << 10) /* bytes of stack copied into a record */
/* Bytes an alternate stack must have left for a sample to be taken. The handler with all it calls needs
 * some 1400 when optimised, as frames of -fstack-usage add up. */
#ifdef NDEBUG
#define COPPER_SIGNAL_ROOM 2048
#else
#define COPPER_SIGNAL_ROOM 12288 /* frames that nobody optimised, or that a sanitizer made larger */
#endif

/* ---- slots: one sampled thread each ---------------------------------------------------------- */

enum cu__slot_state {
    COPPER_SLOT_FREE,
    COPPER_SLOT_ARMED, /* its timer runs */
    COPPER_SLOT_ENDED, /* no timer any more; its ring may still hold records */
};

/* Cumulative over a slot's life; written by its handler alone, read by the collector. */
struct cu__slot_counts {
    _Atomic uint64_t delivered;  /* signals that became records */
    _Atomic uint64_t dropped;    /* ... that found the ring full, or no room on the signal stack */
    _Atomic uint64_t dropped_ns; /* the weight of these */
    _Atomic uint64_t handler_ns; /* time in the handler */
};

struct cu__slot {
    _Atomic int32_t state;      /* lock: slots; the handler reads */
    _Atomic int32_t tid;        /* lock: slots */
    _Atomic uint32_t generation; /* lock: slots; a signal of an earlier use is told by it */
    _Atomic bool is_busy;       /* the handler is in it: set by exchange, so that it excludes itself */
    int32_t timer;              /* the kernel's id; lock: slots; the handler reads */
    uint32_t armed_scan;        /* lock: slots; the scan during which it was armed */
    uint64_t born_ticks;        /* collector; start time of the thread, 0: not looked up yet */
    uint32_t blocked_looks;     /* collector; thorough scans in a row that found the signal
                                 * blocked, and nothing delivered in between */
    int64_t cpu_looked_ns;      /* collector; the thread's clock at the last thorough scan */
    uint64_t delivered_looked;  /* collector; counts.delivered at that scan */
    _Atomic int32_t next_in_bucket; /* lock: slots; the handler reads; -1: last */
    _Atomic uint64_t period_ns; /* any: atomic; of the timer by the thread's clock */
    _Atomic uint32_t ticks_left; /* handler; > 0: tick by tick */
    _Atomic uint64_t perf_period_ns; /* lock: slots; > 0: by a perf event; the handler reads */
    _Atomic uint64_t perf_from_ns; /* lock: slots; the thread's clock when that began */
    void *perf_page;            /* lock: slots; keeps the perf event, see cpu_perf.c */
    uint32_t perf_skips;        /* lock: slots; passes that leave the thread out */
    uint64_t random;            /* handler */
    uint64_t cpu_ns;            /* handler; the thread's clock at its last sample by tick; 0: none */
    /* Where the thread's stack is, [lo, hi); hi 0: not known yet. Written by the collector: lo first,
     * hi with release. */
    _Atomic uint64_t stack_lo, stack_hi;
    _Atomic uint64_t thread_pointer; /* written by the thread; 0: not known yet */
    struct cu__slot_counts counts;
    struct cu__ring ring; /* bytes mapped at first use, never unmapped */
};

extern struct cu__slot cu__slots[COPPER_SLOTS_MAX];
extern _Atomic uint32_t cu__slots_used; /* slots at and above it were never used */

/* What timers carry: a cookie that tells our signals from others', generation and slot. */
#define COPPER_COOKIE UINT64_C(0xC09F)
static inline uint64_t cu__cookie_of(uint32_t slot, uint32_t generation)
{
    return (COPPER_COOKIE << 48) | ((uint64_t)generation << 16) | slot;
}
#define COPPER_COOKIE_SLOT_PROBE 0xffffu /* not a slot: measures what a delivery costs */

/* ---- cpu_signal.c ---------------------------------------------------------------------------- */

void cu__on_signal_sig(int number, siginfo_t *info, void *context);
/* Before sampling starts, in this process. */
void cu__on_signal_prepare(void);
/* How many with COPPER_COOKIE_SLOT_PROBE have come. */
uint32_t cu__on_signal_probes(void);

/* ---- cpu_install.c --------------------------------------------------------------------------- */

#define COPPER_PERF_SIGNAL SIGURG /* see cpu_perf.c */

/* Picks a signal nobody handles and installs the handler, which then stays. The signal's number, or
 * -EBUSY when every candidate is taken, or another -errno. */
int cu__signal_install(void);
/* The signal in use, 0: none yet. */
int cu__signal_number(void);
/* Whether our handler is still the one installed. */
bool cu__signal_is_ours(void);
/* The same for COPPER_PERF_SIGNAL: false when the program handles it. */
bool cu__perf_signal_install(void);
bool cu__perf_signal_is_ours(void);
/* What one delivery costs besides the handler's own work, ns. Measured once, on a thread of ours. */
int64_t cu__signal_delivery_ns(void);
/* A signal of others that came to our handler: does what was to be done before us. */
void cu__signal_forward_sig(int number, siginfo_t *info, void *context);
/* How many. */
uint64_t cu__signal_foreign(void);

/* ---- cpu_timer.c ----------------------------------------------------------------------------- */

struct cu__timer_stats {
    uint64_t delivered, dropped, dropped_ns, handler_ns; /* sums over all slots */
    uint64_t refused; /* threads that got no timer: limit of pending signals */
    uint64_t no_slot; /* threads that got no slot */
    uint32_t armed;   /* threads with a timer now */
};

extern pthread_mutex_t cu__slots_lock;
/* The armed slot of the calling thread, NULL: none. */
struct cu__slot *cu__slot_here_sig(void);
/* From now on threads get timers of this period; those that have one are set to it. */
void cu__timers_start(uint64_t period_ns);
/* Deletes every timer. */
void cu__timers_stop(void);
/* A timer for the thread, if it has none. Our own threads are passed over. */
void cu__timer_arm(pid_t tid);
/* Takes the timer of a thread away. */
void cu__timer_disarm(pid_t tid);
/* Makes slots of ended threads free again once their rings are empty; is_final: and gives the memory
 * of their rings back. */
void cu__timers_recycle(bool is_final);
/* Begins a pass over the threads: the number to compare armed_scan with. */
uint32_t cu__timers_scan_begin(void);
void cu__timers_stats(struct cu__timer_stats *out);
/* The kernel's tick, ns. Set by cu__timers_start. */
extern _Atomic uint64_t cu__tick_ns;
/* In a forked child: timers, threads and rings are gone. */
void cu__timers_forget(void);

/* ---- cpu_perf.c ------------------------------------------------------------------------------ */

/* From now on cu__perf_pass gives threads perf events of this period; 0: takes all away. */
void cu__perf_want(uint64_t period_ns);
/* Gives perf events to threads that lack one. Collector only. */
void cu__perf_pass(void);
/* lock: slots. Takes the slot's perf event away, if it has one. */
void cu__perf_drop(struct cu__slot *slot);
/* Perf events now. */
unsigned cu__perf_threads(void);
/* Why threads go without, NULL: none has to. A string that stays. */
const char *cu__perf_refusal(void);
void cu__perf_forget(void);

/* ---- threads.c ------------------------------------------------------------------------------- */

/* Looks for threads that came or went and keeps slots and timers in step. is_thorough: also looks
 * for reused ids and for threads that block our signal, which costs two small files a thread, and
 * adds the CPU time of these since the last such look to *blocked_ns. */
void cu__threads_scan(bool is_thorough, int64_t *blocked_ns);
/* Finds the stacks of sampled threads that have none known yet. */
/* Returns whether some are still unknown, so that their handlers copy. */
bool cu__threads_find_stacks(void);
bool cu__thread_blocks_signal(pid_t tid, int number);
/* Enters the threads that block our signal into the notes of a run. */
struct cu__run;
void cu__threads_note_blocked(struct cu__run *run);

/* ---- collector.c ----------------------------------------------------------------------------- */

struct cu__run_counts {
    struct cu__timer_stats timers;
    uint64_t cut;         /* samples that do not reach the outermost frame */
    uint64_t samples;     /* records counted */
    uint64_t refused;     /* records that found a stack table full */
    int64_t collector_ns; /* CPU time of the collector thread */
    int64_t process_ns;   /* CPU time of the process, by the kernel */
    int64_t own_ns;       /* ... of this, threads of our own */
    int64_t blocked_ns;   /* ... of this, threads seen to block our signal */
};

#define COPPER_RUN_NOTES_MAX 16
#define COPPER_RUN_NOTE      96

/* One client's window. Made by cpu.c, filled by the collector. */
struct cu__run {
    struct cu__run *next;
    int hz;              /* asked for; 0: the default, under the budget */
    uint64_t period_ns;  /* of the client */
    int64_t start_ns, end_ns;  /* monotonic; records in [start, end) count */
    int64_t start_wall_ns;
    uint64_t *weights;   /* by stack number, ns; COPPER_STACKS_MAX of them */
    uint64_t *ticks;     /* by stack number, samples by tick */
    uint64_t *user;      /* by stack number, parts of user_ns */
    uint64_t user_ns, user_parts; /* time at user level of threads with perf events, and what it is
                                   * shared out among, with what the stack table refused */
    uint64_t span_ns, spans; /* of these: sum and number of pairs, see above */
    uint64_t refused, refused_ns; /* records of the window that found the stack table full */
    struct cu__stack_table *stacks; /* the table that these count in */
    uint32_t nstacks;    /* stacks there were at the end */
    uint64_t table_bytes; /* what they took */
    int hz_min, hz_max;  /* the sampler's rates meanwhile */
    unsigned perf_threads;    /* most perf events at once meanwhile */
    const char *perf_refusal; /* why some threads went without, NULL: none had to */
    struct cu__run_counts before, after;
    bool is_taken_over;  /* somebody replaced our handler meanwhile */
    int signal;
    unsigned nblocked;   /* threads that block our signal */
    char notes[COPPER_RUN_NOTES_MAX][COPPER_RUN_NOTE]; /* the first of them */
    unsigned nnotes;
};

/* Opens the window: when it returns 0, threads have timers and run->start_ns is set. */
int cu__run_open(struct cu__run *run, char error[COPPER_ERROR_MAX]);
/* Closes it: every record up to now is counted. Its stacks stay readable until cu__run_release; see
 * stack_table.h about that. */
void cu__run_close(struct cu__run *run);
void cu__run_release(struct cu__run *run);

/* Totals since the process started, for self-reports. */
struct cu__sampler_totals {
    struct cu__run_counts counts;
    unsigned open_runs;
    int hz; /* now, 0: not sampling */
    uint64_t table_bytes;
    uint32_t table_stacks;
};
void cu__sampler_totals(struct cu__sampler_totals *out);

/* ---- self.c ---------------------------------------------------------------------------------- */

/* A detached thread of our own, created with all signals blocked. 0 or -errno. */
int cu__own_thread_start(void *(*start)(void *), void *arg);
/* CPU time of all threads of our own so far. */
int64_t cu__own_threads_ns(void);
void cu__own_threads_forget(void);

int64_t cu__now_ns(void); /* monotonic */
int64_t cu__clock_ns(clockid_t clock); /* 0: no such clock (any more) */
/* The clock of a thread's CPU time, for any thread of this process. */
static inline clockid_t cu__thread_clock(pid_t tid)
{
    return (clockid_t)(~(uint32_t)tid << 3 | 6u);
}

#endif
