/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a child process that becomes the program, and its end.
 */
#ifndef COPPER_CLI_CHILD_H
#define COPPER_CLI_CHILD_H

#include "launch.h"

#include <signal.h>

/* Forks; the child gets `mask` back as its signal mask and execs. The child's pid, or a negative
 * errno value (of fork or of exec, after which the child is reaped). */
pid_t cu__child_start(const struct cu__launch *l, const sigset_t *mask);

/* Has it ended? True once, with the exit status as a shell gives it: 128 + signal when killed. */
bool cu__child_ended(pid_t pid, int *status);

#endif
