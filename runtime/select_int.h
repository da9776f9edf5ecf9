/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a select that waits, as inspectors see it.
 */
#ifndef COPPER_RUNTIME_SELECT_INT_H
#define COPPER_RUNTIME_SELECT_INT_H

#include <copper/inspect.h>

struct cu__selection;

/* Fills in the number of cases and what is known of the first channel that is still waited for.
 * Called with a claim on the coroutine, which keeps its stack, and so the selection, as it is. */
void cu__select_describe(const struct cu__selection *s, struct cu_object_info *out);

#endif
