/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: from a command line to a running program with us preloaded.
 */
#ifndef COPPER_CLI_LAUNCH_H
#define COPPER_CLI_LAUNCH_H

#include "cli.h"

#include <limits.h>

struct cu__launch {
    const struct cu__options *options;
    char shim[PATH_MAX];
    char program[PATH_MAX];
    char address[COPPER_ADDRESS_MAX];
    bool is_recorded; /* the program says nothing itself, and answers open windows before it exits */
};

/* Checks everything that can be checked before a process is changed or made: shim, program, address.
 * 0, or the exit status after saying what is wrong. */
int cu__launch_prepare(const struct cu__options *o, bool is_recorded, struct cu__launch *out);

/* Sets up the environment of the calling process and becomes the program. Returns only on failure:
 * an errno value. */
int cu__launch_exec(const struct cu__launch *l);

/* Says why exec failed; the exit status for it. */
int cu__launch_failed(const struct cu__launch *l, int error);

#endif
