/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the server's own sockets among all descriptors; see server_sockets.h.
 */
#include "server_sockets.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

typedef bool match_fn(int fd, const void *wanted);

/* The first descriptor that matches, -1: none. */
static int find_descriptor(match_fn *match, const void *wanted)
{
    DIR *dir = opendir("/proc/self/fd");
    int found = -1;
    for (struct dirent *d; dir && found < 0 && (d = readdir(dir)) != NULL;) {
        if (!isdigit((unsigned char)d->d_name[0])) {
            continue;
        }
        int fd = (int)strtol(d->d_name, NULL, 10);
        if (fd != dirfd(dir) && match(fd, wanted)) {
            found = fd;
        }
    }
    if (dir) {
        closedir(dir);
    }
    return found;
}

static bool local_port_is(int fd, uint16_t port)
{
    struct sockaddr_in sa;
    socklen_t n = sizeof(sa);
    return getsockname(fd, (struct sockaddr *)&sa, &n) == 0 && sa.sin_family == AF_INET &&
           ntohs(sa.sin_port) == port;
}

struct connection {
    struct in_addr client_ip;
    uint16_t client_port, server_port;
};

static bool match_connection(int fd, const void *wanted)
{
    const struct connection *c = wanted;
    struct sockaddr_in sa;
    socklen_t n = sizeof(sa);
    return getpeername(fd, (struct sockaddr *)&sa, &n) == 0 && sa.sin_family == AF_INET &&
           sa.sin_addr.s_addr == c->client_ip.s_addr && ntohs(sa.sin_port) == c->client_port &&
           local_port_is(fd, c->server_port);
}

int cu__connection_socket(const char *client_ip, uint16_t client_port, uint16_t server_port)
{
    struct connection c = {.client_port = client_port, .server_port = server_port};
    if (inet_pton(AF_INET, client_ip, &c.client_ip) != 1) {
        return -1;
    }
    return find_descriptor(match_connection, &c);
}

static bool match_listening(int fd, const void *wanted)
{
    int is_listening = 0;
    socklen_t n = sizeof(is_listening);
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &n) == 0 && is_listening &&
           local_port_is(fd, *(const uint16_t *)wanted);
}

int cu__listening_socket(uint16_t port)
{
    return find_descriptor(match_listening, &port);
}

bool cu__socket_is_gone(int fd)
{
    /* RDHUP: its side is shut; what it sent before may still lie unread */
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0;
}

int cu__address_is_free(uint32_t ip, uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    int on = 1;
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(ip)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    int err = bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && listen(fd, 1) == 0 ? 0 : -errno;
    close(fd);
    return err;
}
