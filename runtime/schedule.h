/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what the files of the scheduler offer each other and the primitives above them.
 */
#ifndef COPPER_RUNTIME_SCHEDULE_H
#define COPPER_RUNTIME_SCHEDULE_H

#include "types.h"

struct cu_ctx;

/* sched.c: leaves m's coroutine, the caller, as `kind` says, and runs others; returns when it runs
 * again (YIELD with nobody else to run: at once). Parks. `unlock` is for PARK, see struct
 * cu__after. The result is the waiter's. To be called as a tail call where speed matters:
 * switch_x86_64.S. */
int cu__schedule(struct cu__m *m, enum cu__after_kind kind, struct cu__lock *unlock);
/* From the thread's own stack: runs g, returns when the M runs out of coroutines. */
void cu__run(struct cu__m *m, struct cu__g *g);
/* The next coroutine that p can run without looking further than its own and the global queue. It
 * is RUNNING and the caller's; p->cause says where it was. NULL: none. */
struct cu__g *cu__pick(struct cu__p *p);
/* First C function on a coroutine's stack; called by cu__coroutine_entry. */
__attribute__((noreturn)) void cu__coroutine_main(void);

/* find_work.c: from the thread's own stack: a coroutine to run, RUNNING and the caller's; m has a P
 * then. Sleeps until there is one. NULL: the thread is to end. */
struct cu__g *cu__find_work(struct cu__m *m);
/* After work was put into a queue, with a full barrier between: wakes a worker if all are asleep
 * that could take it. */
void cu__wake_idle(void);
static inline void cu__wake_one(void)
{
    if (unlikely(load_relaxed(&cu__sched.idle_count) != 0) &&
        load_relaxed(&cu__sched.spinning_count) == 0) {
        cu__wake_idle();
    }
}
/* After p's earliest timer became earlier: the keeper must not sleep past it. */
void cu__wake_keeper(int64_t deadline_ns);

/* True if nothing but a coroutine or a thread can end this wait: no deadline, no event, no call
 * that is under way on its behalf. */
static inline bool cu__waits_for_others(const struct cu__wait *wait)
{
    return wait->reason == COPPER_WAIT_QUIESCE ||
           (wait->deadline_ns == 0 && wait->reason != COPPER_WAIT_IO_WAIT &&
            wait->reason != COPPER_WAIT_SYSCALL);
}
/* find_work.c: true if there is work, or timers or events that nobody keeps: a worker should be up.
 */
bool cu__somebody_is_needed(void);
/* True if something waits to be run, were there a P; a glance. */
bool cu__work_waits(int64_t now_ns);

/* sched.c: fires what is due in all heaps, and looks at the poller. Inside, with a P. */
void cu__look_at_all_timers(void);
/* sched.c: books the time on p up to now for the coroutine that stops. */
void cu__account(struct cu__p *p, struct cu__g *stops, int64_t now_ns);
/* sched.c: cu__schedule for a coroutine whose P was lost. */
int cu__schedule_lost(struct cu__m *m, enum cu__after_kind kind, struct cu__lock *unlock);

/* Is g, which runs on an M with this value of `syscalls`, in an announced call? One that parks in
 * such a call goes on elsewhere and leaves its mark behind, so the coroutine is asked, too. */
static inline bool cu__is_in_call(const struct cu__g *g, uint32_t syscalls)
{
    return (syscalls & 1) && load_relaxed(&g->syscall_depth) != 0;
}

/* detach.c, for the calling coroutine, which lost its P, inside:
 * it found that in a call that may not move to another thread: blocks until there is a P. */
void cu__block_for_p(struct cu__m *m);
/* It has its P, and others want it: hands it on, and blocks until there is another. */
void cu__step_aside(struct cu__m *m);
/* It has a P again, and is told to go on. */
void cu__found_p(struct cu__m *m, enum cu_ready_cause cause);
/* It leaves without. */
void cu__tell_lost(struct cu__m *m, enum cu__after_kind kind);

/* lock_thread.c: a coroutine ended that was locked to m. */
void cu__lock_ended(struct cu__m *m, struct cu__g *g);

/* park.c */
void cu__ready(struct cu__g *g);
/* Puts a RUNNABLE coroutine into a queue and sees to it that somebody looks. */
void cu__enqueue(struct cu__g *g);
/* The calling coroutine's record, or `thread_one`, which a plain thread provides on its stack. */
struct cu__waiter *cu__waiter_init(struct cu__waiter *thread_one, void *value);
/* Waits in the list that the caller has put w into, whose lock is held and is given back: parks, or
 * blocks a plain thread. Returns w->result. why->deadline_ns is 0. */
int cu__wait(struct cu__waiter *w, const struct cu__wait *why, struct cu__lock *lock);
/* Ends the wait of a waiter that was taken out of its list. Without locks held. */
void cu__wake(struct cu__waiter *w);
void cu__waiters_add(struct cu__waiters *list, struct cu__waiter *w);
void cu__waiters_add_first(struct cu__waiters *list, struct cu__waiter *w);
void cu__waiters_remove(struct cu__waiters *list, struct cu__waiter *w);
/* Takes w out to wake it. False: its wait has ended otherwise already; it is out, forget it. */
must_use bool cu__waiters_take(struct cu__waiters *list, struct cu__waiter *w);
/* Takes out the first that is still to be woken. NULL: nobody waits any more, also where
 * list->first was not NULL. */
struct cu__waiter *cu__waiters_pop(struct cu__waiters *list);

/* wait.c: cu__wait that also ends at why->deadline_ns (0: none), by then with -ETIMEDOUT. w is out
 * of the list when it returns. List and lock must live that long, or be gone only after their
 * owner emptied the list and passed through the stripe of why->object. The list must be emptied
 * through cu__waiters_take or _pop: w may be in it though its wait has ended. */
int cu__wait_until(struct cu__waiter *w, const struct cu__wait *why, struct cu__lock *lock,
                   struct cu__waiters *list);
/* The same; also ended by ctx (NULL: by nothing else), by then with cu_ctx_err's value. The caller
 * holds a reference of ctx. */
int cu__wait_ctx(struct cu__waiter *w, const struct cu__wait *why, struct cu__lock *lock,
                 struct cu__waiters *list, struct cu_ctx *ctx);
/* Waits with records in any number of lists, all of the race `race` (g's own, or a plain thread's
 * with g NULL), which was opened with a gate; no lock is held. The record it was ended by; NULL:
 * the deadline. What is still in lists is the caller's to take out. */
struct cu__waiter *cu__wait_gated(struct cu__race *race, struct cu__g *g,
                                  const struct cu__wait *why);
/* Takes out w, whose wait has ended otherwise, if it is still queued in the list of an object,
 * which may be gone. No lock is held. */
void cu__wait_leave(struct cu__waiter *w, const void *object, struct cu__lock *lock,
                    struct cu__waiters *list);
/* Starts the timer of g, which is WAITING with a deadline, before anybody can wake it. */
void cu__deadline_start(struct cu__g *g);

/* sleep.c: ns from now, kept in range; now for ns <= 0. */
int64_t cu__deadline(int64_t ns);

/* timer.c. Start: t is in no heap, and has fire, tag and is_silent set; the runtime is started.
 * Stop: true: it will not fire; false: it does or did, or was not started. Both from workers and
 * plain threads, also with locks of objects held; start and stop of one timer at the same time are
 * its owner's to avoid. */
void cu__timer_start(struct cu__timer *t, int64_t deadline_ns);
bool cu__timer_stop(struct cu__timer *t);
/* Fires what is due in p's heap. From any worker that has a P. */
void cu__timers_run(struct cu__p *p, int64_t now_ns);

/* Moves what is in p's heap to that of the first P, which takes what comes from now on; and ends
 * that. p is the caller's, and not the first. */
void cu__timers_close(struct cu__p *p);
void cu__timers_open(struct cu__p *p);

/* worker.c: starts P and M. 0 or -errno. Cheap when started. */
int cu__start(void);

/* scope.c: what quiescence counts; g->scope is not NULL. */
void cu__scope_join(struct cu__scope *scope, struct cu__g *g);
void cu__scope_part(struct cu__scope *scope); /* a member ended, and was active until now */
bool cu__scope_idle(struct cu__scope *scope); /* one active less; true: call cu__scope_settled */
void cu__scope_settled(uint64_t scope_id);
void cu__scope_busy(struct cu__g *g);
/* For what is not a member, but keeps the scope from being at rest until it is idle. */
void cu__scope_ref(struct cu__scope *scope);
void cu__scope_unref(struct cu__scope *scope);
void cu__scope_goes_on(struct cu__scope *scope);
uint64_t cu__scope_id(const struct cu__scope *scope);
struct cu__scope *cu__scope_current(void);
/* Called by who sees every P idle, and by inspectors when they are done. */
void cu__quiesce_check(void);
/* Whether nothing can happen by itself: see scope.c. */
bool cu__is_all_idle(void);
void cu__scope_after_fork(void);

/* inspect.c */
void cu__inspect_after_fork(void);

#endif
