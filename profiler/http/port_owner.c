/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: who listens on a TCP port; see port_owner.h.
 *
 * Design. /proc/net/tcp gives the inode of the listening socket, and the processes' descriptors
 * tell who holds it.
 */
#include "port_owner.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COPPER_TCP_LISTEN 0x0a

static unsigned long listening_inode(const char *table, uint16_t port)
{
    FILE *f = fopen(table, "re");
    char line[512];
    unsigned long inode = 0;
    while (f && inode == 0 && fgets(line, sizeof(line), f)) {
        unsigned at, state;
        unsigned long found;
        if (sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*d %*d %lu", &at,
                   &state, &found) == 3 &&
            at == port && state == COPPER_TCP_LISTEN) {
            inode = found;
        }
    }
    if (f) {
        fclose(f);
    }
    return inode;
}

static bool holds_socket(const char *pid, const char *wanted)
{
    char path[64], target[64];
    snprintf(path, sizeof(path), "/proc/%.16s/fd", pid);
    DIR *dir = opendir(path);
    bool is_found = false;
    for (struct dirent *d; dir && !is_found && (d = readdir(dir)) != NULL;) {
        ssize_t n = readlinkat(dirfd(dir), d->d_name, target, sizeof(target) - 1);
        target[n > 0 ? n : 0] = '\0';
        is_found = strcmp(target, wanted) == 0;
    }
    if (dir) {
        closedir(dir);
    }
    return is_found;
}

static void read_comm(const char *pid, char *name, size_t cap)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%.16s/comm", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, name, cap - 1) : 0;
    if (fd >= 0) {
        close(fd);
    }
    name[n > 0 ? n : 0] = '\0';
    name[strcspn(name, "\n")] = '\0';
}

pid_t cu__port_owner(uint16_t port, char *name, size_t cap)
{
    unsigned long inode = listening_inode("/proc/net/tcp", port);
    if (inode == 0) {
        inode = listening_inode("/proc/net/tcp6", port);
    }
    if (inode == 0) {
        return 0;
    }
    char wanted[64];
    snprintf(wanted, sizeof(wanted), "socket:[%lu]", inode);
    DIR *dir = opendir("/proc");
    pid_t owner = 0;
    for (struct dirent *d; dir && owner == 0 && (d = readdir(dir)) != NULL;) {
        if (isdigit((unsigned char)d->d_name[0]) && holds_socket(d->d_name, wanted)) {
            owner = (pid_t)strtol(d->d_name, NULL, 10);
            read_comm(d->d_name, name, cap);
        }
    }
    if (dir) {
        closedir(dir);
    }
    return owner;
}
