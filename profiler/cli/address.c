/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see address.h.
 *
 * Design. Whether an address is free is asked by binding it for a moment. Who holds it is found as
 * ss(8) does: the listening socket's inode in /proc/net/tcp, then the process that has it open.
 */
#include "address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define COPPER_TCP_LISTEN 0x0a /* state in /proc/net/tcp */

/* "HOST:PORT" to a socket address. */
static bool parse(const char *text, struct sockaddr_in *out)
{
    const char *colon = strrchr(text, ':');
    const char *port = colon ? colon + 1 : text;
    char host[INET_ADDRSTRLEN] = "127.0.0.1";
    if (colon && colon > text) {
        size_t n = (size_t)(colon - text);
        if (n >= sizeof host) {
            return false;
        }
        memcpy(host, text, n);
        host[n] = '\0';
    }
    if (strcmp(host, "localhost") == 0) {
        strcpy(host, "127.0.0.1");
    }
    char *end;
    unsigned long number = isdigit((unsigned char)*port) ? strtoul(port, &end, 10) : ULONG_MAX;
    if (number > UINT16_MAX || *end != '\0') {
        return false;
    }
    *out = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)number)};
    return inet_pton(AF_INET, host, &out->sin_addr) == 1;
}

/* The inode of the socket that listens where addr cannot; 0: not to be seen. */
static unsigned long listening_inode(const struct sockaddr_in *addr)
{
    FILE *f = fopen("/proc/net/tcp", "re");
    unsigned long inode = 0;
    char line[512];
    while (f && inode == 0 && fgets(line, sizeof line, f)) {
        unsigned host, port, state;
        unsigned long number;
        if (sscanf(line, " %*u: %x:%x %*x:%*x %x %*x:%*x %*x:%*x %*x %*u %*u %lu", &host, &port,
                   &state, &number) == 4 &&
            state == COPPER_TCP_LISTEN && port == ntohs(addr->sin_port) &&
            (host == addr->sin_addr.s_addr || host == INADDR_ANY ||
             addr->sin_addr.s_addr == INADDR_ANY)) {
            inode = number;
        }
    }
    if (f) {
        fclose(f);
    }
    return inode;
}

static bool process_has_socket(const char *pid, unsigned long inode)
{
    char path[PATH_MAX], want[64], got[64];
    snprintf(want, sizeof want, "socket:[%lu]", inode);
    snprintf(path, sizeof path, "/proc/%s/fd", pid);
    DIR *dir = opendir(path);
    bool found = false;
    for (struct dirent *d; dir && !found && (d = readdir(dir)) != NULL;) {
        ssize_t n = readlinkat(dirfd(dir), d->d_name, got, sizeof got - 1);
        if (n > 0) {
            got[n] = '\0';
            found = strcmp(got, want) == 0;
        }
    }
    if (dir) {
        closedir(dir);
    }
    return found;
}

static void read_name(const char *pid, char *out, size_t size)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "/proc/%s/comm", pid);
    FILE *f = fopen(path, "re");
    if (!f || !fgets(out, (int)size, f)) {
        snprintf(out, size, "?");
    }
    out[strcspn(out, "\n")] = '\0';
    if (f) {
        fclose(f);
    }
}

/* "nginx[77]", or what can be said without permission to look. */
static void find_holder(const struct sockaddr_in *addr, char *out, size_t size)
{
    snprintf(out, size, "another process");
    unsigned long inode = listening_inode(addr);
    DIR *proc = inode ? opendir("/proc") : NULL;
    for (struct dirent *d; proc && (d = readdir(proc)) != NULL;) {
        if (isdigit((unsigned char)d->d_name[0]) && process_has_socket(d->d_name, inode)) {
            char name[COPPER_NAME_MAX];
            read_name(d->d_name, name, sizeof name);
            snprintf(out, size, "%s[%.16s]", name, d->d_name);
            break;
        }
    }
    if (proc) {
        closedir(proc);
    }
}

/* Binds and listens for a moment, with the options a server has. 0 or an errno value. */
static int try_bind(const struct sockaddr_in *addr)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return errno;
    }
    int on = 1, error = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (const struct sockaddr *)addr, sizeof *addr) != 0 || listen(fd, 1) != 0) {
        error = errno;
    }
    close(fd);
    return error;
}

static bool is_loopback(const struct sockaddr_in *addr)
{
    return ntohl(addr->sin_addr.s_addr) >> 24 == 127;
}

int cu__address_check(const char *text, char out[COPPER_ADDRESS_MAX])
{
    struct sockaddr_in addr;
    if (!parse(text, &addr)) {
        cu__error("--http %s: not HOST:PORT with a numeric IPv4 host; 127.0.0.1:6060 is", text);
        return COPPER_EXIT_FAILED;
    }
    char host[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &addr.sin_addr, host, sizeof host);
    snprintf(out, COPPER_ADDRESS_MAX, "%s:%u", host, ntohs(addr.sin_port));
    const char *token = getenv("COPPER_TOKEN_FILE");
    if (!is_loopback(&addr) && (!token || *token == '\0')) {
        cu__error("%s is not a loopback address, and others may only look with a token; set "
                  "COPPER_TOKEN_FILE", out);
        return COPPER_EXIT_FAILED;
    }
    int error = try_bind(&addr);
    if (error == EADDRINUSE) {
        char holder[2 * COPPER_NAME_MAX];
        find_holder(&addr, holder, sizeof holder);
        cu__error("%s is taken by %s; use --http %s", out, holder, COPPER_CLI_ANY_PORT);
        return COPPER_EXIT_FAILED;
    }
    if (error) {
        cu__error("cannot serve on %s: %s", out, strerror(error));
        return COPPER_EXIT_FAILED;
    }
    return 0;
}
