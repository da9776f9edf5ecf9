/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a channel's inside, for chan.c and for who describes the object a coroutine waits on.
 */
#ifndef COPPER_RUNTIME_CHAN_H
#define COPPER_RUNTIME_CHAN_H

#include <copper/chan.h>

#include "types.h"

/* Fills in what is known of the channel; called while a waiter keeps it alive (inspect.c). */
void cu__chan_describe(const struct cu_chan *c, struct cu_object_info *out);
/* The size it was made with. */
size_t cu__chan_value_size(const struct cu_chan *c);

#endif
