/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: one line of ours on the program's standard error.
 */
#ifndef COPPER_SAY_H
#define COPPER_SAY_H

/* "copper: ..." and a newline, in one write, so that lines of several processes do not mix; no stdio,
 * whose locks are the program's. What does not fit into some thousand bytes is cut. From anywhere but
 * signal handlers. */
__attribute__((format(printf, 1, 2))) void cu__say(const char *format, ...);

#endif
