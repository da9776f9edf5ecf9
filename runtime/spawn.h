/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the one way to make a coroutine; cu_go and its relatives fill this in.
 */
#ifndef COPPER_RUNTIME_SPAWN_H
#define COPPER_RUNTIME_SPAWN_H

#include "gstate.h"
#include "types.h"

/* What a coroutine gets from who asks for it, where that is not who starts it. */
struct cu__heir {
    cu_id parent;
    const struct cu_origin *origin;
    const struct cu_labels *labels;
    struct cu__scope *scope; /* a reference; NULL: none */
    char name[COPPER_NAME_SIZE];
};

struct cu__spawn {
    void (*fn)(void *);
    void *arg;
    const struct cu_go_options *options;
    struct cu_wg *wg;            /* its end counts as done there; may be NULL */
    const struct cu__heir *heir; /* NULL: the caller's child, as of now */
    uint32_t stack_class;
    bool is_main;
};

cu_id cu__spawn(const struct cu__spawn *spawn);
/* The last act of the calling coroutine g. */
_Noreturn void cu__coroutine_end(struct cu__g *g);

/* heir.c: of a coroutine for fn that the caller may ask for. */
void cu__heir_make(struct cu__heir *heir, void (*fn)(void *), const struct cu_site *site);
void cu__heir_drop(struct cu__heir *heir);
/* From now on, or no more, it is about to be started: its scope is not at rest. The second without
 * locks held. */
void cu__heir_is_busy(const struct cu__heir *heir);
void cu__heir_is_idle(const struct cu__heir *heir);

#endif
