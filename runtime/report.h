/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the runtime's last words: misuse and stack overflow, to stderr, with who and where.
 */
#ifndef COPPER_RUNTIME_REPORT_H
#define COPPER_RUNTIME_REPORT_H

#include "text.h"
#include "types.h"

/* Reports the calling coroutine or thread, its stack if somebody registered a printer, and aborts.
 */
__attribute__((noreturn, cold, format(printf, 1, 2))) void cu__misuse(const char *format, ...);
/* Reports without ending the program: it can go on. */
__attribute__((cold, format(printf, 1, 2))) void cu__complain(const char *format, ...);
/* The same of g, which is named first: it may run meanwhile, and may even end. */
__attribute__((cold, format(printf, 2, 3))) void cu__complain_of(const struct cu__g *g,
                                                                 const char *format, ...);
/* A canary was overwritten: reports g and aborts. */
__attribute__((noreturn, cold)) void cu__report_overflow(const struct cu__g *g);
/* From the fault handler, with the registers of the fault. */
void cu__report_overflow_sig(const struct cu__g *g, const struct cu_saved_regs *regs);
/* The named frames of a stack that stands still, if somebody registered a printer; else its pc. */
void cu__print_stack(struct cu__text *t, const struct cu_saved_regs *regs, uint64_t lo,
                     uint64_t hi);
/* After the last of several stacks. */
void cu__print_end(int fd);
/* From here on the process ends: a printer may take measures against hanging. */
void cu__report_is_fatal(void);
/* Waits while misuse or an overflow is being reported, so that the end of main does not cut it
 * short and make the status a success. */
void cu__report_let_finish(void);

#endif
