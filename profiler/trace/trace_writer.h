/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the thread behind the execution trace: it brings the records of all threads into the
 * model, and gives the generations to whoever wants them.
 */
#ifndef COPPER_TRACE_WRITER_H
#define COPPER_TRACE_WRITER_H

/* The thread, for trace_clients.c. It ends when nobody wants a trace any more. */
void *cu__write_trace(void *unused);
/* In a forked child, which has no such thread. */
void cu__write_trace_forget(void);

#endif
