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

#endif
