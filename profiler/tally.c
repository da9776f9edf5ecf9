/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see tally.h.
 */
#include "tally.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAP 256u

static bool make_room(struct cu__tally *t, uint32_t number)
{
    if (number < t->counts_cap) {
        return true;
    }
    uint32_t cap = t->counts_cap ? t->counts_cap * 2 : FIRST_CAP;
    uint64_t *counts = realloc(t->counts, cap * sizeof(*counts));
    if (!counts) {
        return false;
    }
    memset(counts + t->counts_cap, 0, (cap - t->counts_cap) * sizeof(*counts));
    t->counts = counts;
    t->counts_cap = cap;
    return true;
}

uint32_t cu__tally_add(struct cu__tally *t, const void *bytes, size_t n)
{
    uint32_t number = cu__intern(&t->kinds, bytes, n);
    if (number == COPPER_INTERN_NONE || !make_room(t, number)) {
        return COPPER_INTERN_NONE;
    }
    t->counts[number]++;
    return number;
}

void cu__tally_clear(struct cu__tally *t)
{
    cu__interner_clear(&t->kinds);
    free(t->counts);
    *t = (struct cu__tally){0};
}
