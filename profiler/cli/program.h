/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: finds the program to be started and judges whether preloading reaches it, so that the user
 * learns before exec what would otherwise be silence.
 */
#ifndef COPPER_CLI_PROGRAM_H
#define COPPER_CLI_PROGRAM_H

#include <limits.h>

/* Finds name as execvp does. 0, or the exit status after saying why not. */
int cu__program_find(const char *name, char path[PATH_MAX]);

/* Whether preloading reaches the program at path (scripts: their interpreter). 0, or the exit status
 * after saying why not. name: as the user wrote it. */
int cu__program_check(const char *name, const char *path);

#endif
