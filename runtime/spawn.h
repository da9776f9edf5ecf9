/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the one way to make a coroutine; cu_go and its relatives fill this in.
 */
#ifndef COPPER_RUNTIME_SPAWN_H
#define COPPER_RUNTIME_SPAWN_H

#include "gstate.h"
#include "types.h"

struct cu__spawn {
    void (*fn)(void *);
    void *arg;
    const struct cu_go_options *options;
    struct cu_wg *wg; /* its end counts as done there; may be NULL */
    uint32_t stack_class;
    bool is_main;
};

cu_id cu__spawn(const struct cu__spawn *spawn);
/* The last act of the calling coroutine g. */
_Noreturn void cu__coroutine_end(struct cu__g *g);

#endif
