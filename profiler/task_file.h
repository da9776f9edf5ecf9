/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the small files in which the kernel tells about one thread of this process.
 */
#ifndef COPPER_TASK_FILE_H
#define COPPER_TASK_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Reads /proc/self/task/TID/FILE into text, NUL-terminated, cut to size - 1 bytes. False, and text
 * is "" or unchanged, when the thread is gone or the file cannot be read or is empty. */
bool cu__read_task_file(pid_t tid, const char *file, char *text, size_t size);

#endif
