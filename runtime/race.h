/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a wait that several may end, and of whom exactly one does: whoever takes one of the
 * waiter's records out of a list, the timer of its deadline.
 *
 * Design: a word that only grows. The waiter opens a race by making it odd, before anybody can find
 * it; the value is the ticket of this wait. Who wants to end the wait makes it even by
 * compare-and-swap. A timer carries the ticket, because it may come late, when the waiter waits for
 * something else; who found a record in a list needs none: while the record is there (lock: the
 * list's), the race is that wait's.
 *
 * Who waits in one list keeps its lock until it has left its stack, so a winner finds it WAITING.
 * With records in several lists all locks are given back before: such a race has a gate, through
 * which both the winner and the leaver go, and whoever comes second readies the coroutine.
 *
 * The winner alone may write the waiter's results and must wake it. A loser forgets the record it
 * found. The waiter takes out what records are still in lists before it goes on, so that nothing
 * refers to it afterwards but perhaps a late timer with an old ticket, which touches nothing but
 * the word; so the word of a coroutine is in its control block, which is never given back.
 */
#ifndef COPPER_RUNTIME_RACE_H
#define COPPER_RUNTIME_RACE_H

#include "types.h"

enum { CU__GATE_NONE, CU__GATE_OPEN, CU__GATE_LEFT, CU__GATE_WON };

/* By the winner. True: the coroutine has left its stack (or waits in one list only): ready it. */
static inline bool cu__gate_won(struct cu__race *race)
{
    return load_relaxed(&race->gate) == CU__GATE_NONE ||
           swap_seq(&race->gate, CU__GATE_WON) == CU__GATE_LEFT;
}

/* By who sees to the coroutine that left its stack. True: somebody has won already: ready it. */
static inline bool cu__gate_left(struct cu__race *race)
{
    return swap_seq(&race->gate, CU__GATE_LEFT) == CU__GATE_WON;
}

/* By the waiter: the ticket. */
static inline uint64_t cu__race_open_at(struct cu__race *race, uint32_t gate)
{
    uint64_t ticket = load_relaxed(&race->word) + 1;
    cu_assert(ticket & 1);
    race->winner = NULL;
    race->thread_wake = 0;
    store_relaxed(&race->gate, gate);
    store_release(&race->word, ticket);
    return ticket;
}

static inline uint64_t cu__race_open(struct cu__race *race)
{
    return cu__race_open_at(race, CU__GATE_NONE);
}

/* For a coroutine whose records will be in several lists. */
static inline uint64_t cu__race_open_gated(struct cu__race *race)
{
    return cu__race_open_at(race, CU__GATE_OPEN);
}

/* True: the wait is the caller's to end. */
static inline bool cu__race_win(struct cu__race *race, uint64_t ticket)
{
    return cas_seq(&race->word, &ticket, ticket + 1);
}

/* By the waiter, where nobody can have won: there will be no wait after all. */
static inline void cu__race_call_off(struct cu__race *race)
{
    store_relaxed(&race->word, load_relaxed(&race->word) + 1);
}

/* cu__race_win for who found w in a list. Called with the list's lock. */
static inline bool cu__race_win_by(struct cu__waiter *w)
{
    uint64_t ticket = load_relaxed(&w->race->word);
    if ((ticket & 1) == 0 || !cu__race_win(w->race, ticket)) {
        return false;
    }
    w->race->winner = w;
    return true;
}

#endif
