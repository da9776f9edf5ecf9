/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see budget.h.
 */
#include "budget.h"

#include "cpu_int.h"
#include "heap_weak.h"
#include "units.h"

#include <stdatomic.h>
#include <stdlib.h>

#define BUDGET_DEFAULT 0.01
#define BUDGET_PART    8 /* a kind that spends less than one part of so many need not lower its rate \
                          */
#define BUDGET_ROOM 4    /* doubling a rate is safe while one part of so many is spent */

static _Atomic int64_t costs[COPPER_COST_KINDS];

void cu__cost_add(enum cu__cost kind, int64_t ns)
{
    atomic_fetch_add_explicit(&costs[kind], ns > 0 ? ns : 0, memory_order_relaxed);
}

int64_t cu__cost_ns(enum cu__cost kind)
{
    if (kind == COPPER_COST_HEAP) { /* the allocator wrapper counts for itself */
        struct cu_heap_stats s = {.size = sizeof s};
        if (cu__has_heap()) {
            cu_heap_stats_read(&s);
        }
        return (int64_t)s.ns;
    }
    return atomic_load_explicit(&costs[kind], memory_order_relaxed);
}

const char *cu__cost_text(enum cu__cost kind)
{
#define COPPER_COST_TEXT(upper, text) text,
    static const char *const texts[] = {COPPER_COSTS(COPPER_COST_TEXT)};
#undef COPPER_COST_TEXT
    return texts[kind];
}

double cu__budget(void)
{
    const char *text = secure_getenv("COPPER_BUDGET");
    double share;
    return text && cu__parse_share(text, &share) == 0 ? share : BUDGET_DEFAULT;
}

static int64_t all_costs(void)
{
    int64_t sum = 0;
    for (int kind = 0; kind < COPPER_COST_KINDS; kind++) {
        sum += cu__cost_ns((enum cu__cost)kind);
    }
    return sum;
}

enum cu__budget_answer cu__budget_ask(enum cu__cost kind, struct cu__budget_look *last)
{
    struct cu__budget_look now = {.now_ns = cu__now_ns(),
                                  .program_ns =
                                      cu__clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cu__own_threads_ns(),
                                  .own_ns = cu__cost_ns(kind),
                                  .all_ns = all_costs()};
    struct cu__budget_look before = *last;
    *last = now;
    if (before.now_ns == 0) {
        return COPPER_BUDGET_KEEP;
    }
    int64_t used = now.program_ns - before.program_ns, wall = now.now_ns - before.now_ns;
    double allowed = cu__budget() * (double)(used > wall ? used : wall);
    double all = (double)(now.all_ns - before.all_ns), own = (double)(now.own_ns - before.own_ns);
    if (all > allowed) {
        return own > allowed / BUDGET_PART ? COPPER_BUDGET_LOWER : COPPER_BUDGET_KEEP;
    }
    return all < allowed / BUDGET_ROOM ? COPPER_BUDGET_RAISE : COPPER_BUDGET_KEEP;
}
