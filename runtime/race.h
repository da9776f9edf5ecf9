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
 * The winner alone may write the waiter's results and must wake it. A loser forgets the record it
 * found. The waiter takes out what records are still in lists before it goes on, so that nothing
 * refers to it afterwards but perhaps a late timer with an old ticket, which touches nothing but
 * the word; so the word of a coroutine is in its control block, which is never given back.
 */
#ifndef COPPER_RUNTIME_RACE_H
#define COPPER_RUNTIME_RACE_H

#include "types.h"

/* By the waiter: the ticket. */
static inline uint64_t cu__race_open(struct cu__race *race)
{
    uint64_t ticket = load_relaxed(&race->word) + 1;
    race->winner = NULL;
    race->thread_wake = 0;
    store_release(&race->word, ticket);
    return ticket;
}

/* True: the wait is the caller's to end. */
static inline bool cu__race_win(struct cu__race *race, uint64_t ticket)
{
    return cas_seq(&race->word, &ticket, ticket + 1);
}

/* The same for who found w in a list. Called with the list's lock. */
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
