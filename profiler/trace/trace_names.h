/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: stacks of the execution trace: each distinct one under a number that stays, and under an
 * id in every generation that uses it; named when the generation ends.
 *
 * Design. The tools call a coroutine by the outermost frame of the first stack they see of it,
 * which is the one it was created with: one frame, its function. The event of creation does not
 * tell the function, the first run does. So a creation stack stands for its spawn site, and is
 * named at the end of the generation; a site that spawns different functions gets one for each
 * coroutine.
 *
 * Runtime and hook frames at the leaf are dropped, and so is the runtime's start code at the root.
 *
 * Concurrency: one thread at a time.
 */
#ifndef COPPER_TRACE_NAMES_H
#define COPPER_TRACE_NAMES_H

#include "trace_wire.h"

#include <copper/go.h>
#include <copper/stacks.h>

struct cu__name {
    uint64_t entry;   /* of a creation stack, 0: not known yet */
    uint32_t id;      /* in this generation, 0: not used */
    bool is_mixed;    /* the site spawns several functions */
    bool is_looked;   /* lacks_entry is known */
    bool lacks_entry; /* it does not reach the coroutine's function */
};

struct cu__names {
    struct cu__interner stacks;
    struct cu__name *facts; /* by number */
    uint32_t facts_cap;
    uint32_t *used; /* numbers in order of their ids in this generation */
    uint32_t nused, used_cap;
    struct cu_symbolizer *symbolizer;    /* borrowed; NULL: not yet */
    uint32_t own_module, runtime_module; /* ids; 0: not looked up */
    bool is_failed;
};

/* Numbers; COPPER_INTERN_NONE: none. */
uint32_t cu__names_stack(struct cu__names *names, const cu_frame *frames, unsigned n, bool is_cut);
/* The same stack as one of a coroutine with this function, which is put to its end where the stack
 * does not have it: it was cut, or the function left by a tail call. 0: unknown. */
uint32_t cu__names_of_new(struct cu__names *names, uint32_t stack, uint64_t entry);
static inline uint32_t cu__names_of(struct cu__names *names, uint32_t stack, uint64_t entry)
{
    bool is_known = stack < names->stacks.nitems && names->facts[stack].is_looked &&
                    !names->facts[stack].lacks_entry;
    return is_known ? stack : cu__names_of_new(names, stack, entry);
}
/* The stack with which g was created at site (NULL: unknown). */
uint32_t cu__names_birth(struct cu__names *names, const struct cu_site *site, int64_t g);
/* The function that a creation stack turned out to stand for. */
void cu__names_born(struct cu__names *names, uint32_t birth, uint64_t entry);

/* The id in this generation; 0 for none. */
uint64_t cu__names_id_new(struct cu__names *names, uint32_t number);
static inline uint64_t cu__names_id(struct cu__names *names, uint32_t number)
{
    bool is_known = number < names->stacks.nitems && names->facts[number].id != 0;
    return is_known ? names->facts[number].id : cu__names_id_new(names, number);
}
/* Writes the stacks that were used, and forgets their ids. */
void cu__names_write(struct cu__names *names, struct cu__wire *w, struct cu__wire_batch *b,
                     int64_t now_ns);
/* A stack of `from` in `names`. */
uint32_t cu__names_move(struct cu__names *names, const struct cu__names *from, uint32_t number);
void cu__names_clear(struct cu__names *names);

#endif
