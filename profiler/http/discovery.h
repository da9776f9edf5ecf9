/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: how a process that serves /debug/pprof is found: `copper list` and friends.
 *
 * Design. One small text file per serving process, named by its pid, in a directory of the user:
 *
 *     $XDG_RUNTIME_DIR/copper       when that variable names a directory of ours
 *     /run/copper                   for root
 *     /tmp/copper-UID               otherwise
 *
 * The directory is 0700 and must belong to us: a symbolic link, somebody else's directory or one
 * that others may write is refused, not followed. A file is written beside its name and renamed, so
 * a reader sees it whole or not at all:
 *
 *     copper 1
 *     pid 812
 *     start 4711293
 *     address 127.0.0.1:41873
 *     exe /usr/bin/redis-server
 *
 * `start` is field 22 of /proc/PID/stat: together with the pid it names one process for ever, so a
 * file that a killed process left behind is never taken for its pid's next owner. Lines with other
 * keys are skipped by readers. Control characters of exe are written as '?'.
 *
 * discovery.c needs libc only, so that the command can be built with it as it is.
 *
 * Concurrency: publish and withdraw belong to whoever starts and stops the server (one at a time);
 * each may run anywhere.
 */
#ifndef COPPER_DISCOVERY_H
#define COPPER_DISCOVERY_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define COPPER_DISCOVERY_VERSION     1
#define COPPER_DISCOVERY_BYTES_MAX   8192 /* a longer file is not ours */
#define COPPER_DISCOVERY_ADDRESS_MAX 72   /* "127.0.0.1:41873" and its NUL */

struct cu__discovery_entry {
    pid_t pid;
    uint64_t start_ticks; /* field 22 of /proc/PID/stat */
    char address[COPPER_DISCOVERY_ADDRESS_MAX];
    char exe[PATH_MAX];
};

/* Tells that this process serves at address. Makes the directory if need be. 0 or -errno. */
int cu__discovery_publish(const char *address);

/* Removes what this process published; nothing when it is another process's (after fork). */
void cu__discovery_withdraw(void);

/* Calls visit for every serving process that this user may see (root: everybody's) until it returns
 * false. Files whose process is gone are removed. The number visited, or -errno. */
int cu__discovery_each(bool (*visit)(const struct cu__discovery_entry *entry, void *arg),
                       void *arg);

/* The same for one pid. True when it serves. */
bool cu__discovery_find(pid_t pid, struct cu__discovery_entry *out);

/* Field 22 of /proc/PID/stat; 0 when there is no such process. */
uint64_t cu__process_start_ticks(pid_t pid);

#endif
