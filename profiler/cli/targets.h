/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: processes that serve, by pid or name.
 */
#ifndef COPPER_CLI_TARGETS_H
#define COPPER_CLI_TARGETS_H

#include "cli.h"

struct cu__target {
    pid_t pid;
    char name[COPPER_NAME_MAX];
    char address[COPPER_ADDRESS_MAX];
};

/* False: that process does not serve. */
bool cu__target_by_pid(pid_t pid, struct cu__target *out);
/* How many have this name, or -errno; *out is one of them. */
int cu__target_by_name(const char *name, struct cu__target *out);
/* A PID or NAME that serves. 0: found. -1: it is no target, so it may be a program. Else the exit
 * status after saying what is wrong. */
int cu__target_find(const char *word, struct cu__target *out);
/* The same for a verb that takes targets only: `word` is all of its operands. */
int cu__target_required(const struct cu__options *o, struct cu__target *out);

#endif
