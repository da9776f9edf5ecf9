/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: between trace_hooks.c, which the runtime calls, and trace_record.c, where records go.
 */
#ifndef COPPER_TRACE_HOOKS_H
#define COPPER_TRACE_HOOKS_H

#include "trace_record.h"

int cu__trace_hooks_attach(void);
void cu__trace_hooks_detach(void);

/* The calling thread's stream, NULL: nothing is recorded, or too many threads. */
struct cu__trace_stream *cu__trace_own_stream(void);
/* Room for a record of that many words; NULL: lost, and counted. */
struct cu__trace_record *cu__trace_reserve(struct cu__trace_stream *s, unsigned words);
/* Publishes the record last reserved. */
void cu__trace_publish(struct cu__trace_stream *s, const struct cu__trace_record *record);

/* Threads inside cu__trace_note: recording ends when they are out. */
extern _Atomic uint32_t cu__trace_noting;

#endif
