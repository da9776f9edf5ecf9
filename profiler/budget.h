/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what profiling costs, by kind, and what it may cost: COPPER_BUDGET, a share of the program's CPU
 * time (1 % unless told).
 *
 * Design. Each kind adds up its own cost: CPU time of our threads for it, and time that it took from threads
 * of the program. Those that chose their rate themselves ask now and then whether all of it together
 * still fits, and lower the rate if not. A rate that somebody asked for is theirs to choose. A program
 * that hardly runs costs hardly anything: the share is of one CPU at least.
 *
 * Concurrency and signal safety: cu__cost_add is one atomic addition, usable in hooks and handlers. A look belongs
 * to one thread at a time.
 */
#ifndef COPPER_BUDGET_H
#define COPPER_BUDGET_H

#include <stdint.h>

/* X(name in upper case, name shown) */
#define COPPER_COSTS(X)                                                                            \
    X(CPU, "cpu")                                                                                  \
    X(HEAP, "heap")                                                                                \
    X(WALL, "wall")                                                                                \
    X(DELAY, "delay") /* block, mutex, schedule, hog */                                            \
    X(TRACE, "trace")

enum cu__cost {
#define COPPER_COST_ENUM(upper, text) COPPER_COST_##upper,
    COPPER_COSTS(COPPER_COST_ENUM)
#undef COPPER_COST_ENUM
    COPPER_COST_KINDS
};

void cu__cost_add(enum cu__cost kind, int64_t ns);
/* Since the process started. */
int64_t cu__cost_ns(enum cu__cost kind);
const char *cu__cost_text(enum cu__cost kind);

/* The share that profiling may cost. */
double cu__budget(void);

struct cu__budget_look {
    int64_t now_ns, program_ns, own_ns, all_ns; /* at the last look; now_ns 0: none yet */
};
enum cu__budget_answer { COPPER_BUDGET_KEEP, COPPER_BUDGET_LOWER, COPPER_BUDGET_RAISE };

/* Whether a kind should halve its rate, or may double it, by what was spent since the last look. */
enum cu__budget_answer cu__budget_ask(enum cu__cost kind, struct cu__budget_look *last);

#endif
