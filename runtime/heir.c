/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see spawn.h: a coroutine that is asked for now and started later, by whoever happens to
 * run then.
 */
#include <string.h>

#include "origin.h"
#include "schedule.h"
#include "spawn.h"
#include "tls.h"

void cu__heir_make(struct cu__heir *heir, void (*fn)(void *), const struct cu_site *site)
{
    struct cu__g *parent = cu__g_self();
    *heir = (struct cu__heir){.parent = parent ? parent->id : 0,
                              .origin = cu__origin_of_child(parent, site, fn),
                              .labels = parent ? parent->labels : cu__thread_labels(),
                              .scope = cu__scope_current()};
    if (parent && parent->has_name && !parent->is_main) {
        memcpy(heir->name, parent->name, sizeof(heir->name));
    }
    if (heir->scope) {
        cu__scope_ref(heir->scope);
    }
}

void cu__heir_drop(struct cu__heir *heir)
{
    if (heir->scope) {
        cu__scope_unref(heir->scope);
    }
}

void cu__heir_is_busy(const struct cu__heir *heir)
{
    if (heir->scope) {
        cu__scope_goes_on(heir->scope);
    }
}

void cu__heir_is_idle(const struct cu__heir *heir)
{
    if (heir->scope && cu__scope_idle(heir->scope)) {
        cu__scope_settled(cu__scope_id(heir->scope));
    }
}
