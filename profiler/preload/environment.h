/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: reading and cleaning the environment of a process that has only just begun. All of it
 * works in place, on the array and strings the kernel made: nothing is allocated, and programs that
 * bring their own getenv and setenv (bash) see the result.
 *
 * Concurrency: only from the constructor, before the program's threads exist.
 */
#ifndef COPPER_PRELOAD_ENVIRONMENT_H
#define COPPER_PRELOAD_ENVIRONMENT_H

#include <stdbool.h>
#include <stddef.h>

/* Takes the entries whose file name is `file` out of LD_PRELOAD, keeps the others as they are, and
 * drops the variable when nothing is left. */
void cu__environment_leave_preload(const char *file);

/* Removes every variable whose name begins with prefix. */
void cu__environment_remove(const char *prefix);

/* Whether the comma-separated list contains name. */
bool cu__environment_list_has(const char *list, const char *name);

#endif
