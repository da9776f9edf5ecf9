/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: copper/net.h: from addresses as text to sockets, and back.
 *
 * Design: everything becomes a struct addrinfo list, unix paths too, so that listening and dialling
 * are one loop each. Numbers are understood without the resolver, and only names go to it: by a
 * coroutine of its own, because nobody can take back a call that waits for a name server; who gave
 * up leaves the answer to it (resolve.c).
 */
#include <arpa/inet.h>
#include <copper/io.h>
#include <copper/net.h>
#include <copper/time.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "io_int.h"
#include "resolve.h"
#include "schedule.h"

static const struct cu__until for_ever;

#define LEAST_PART_NS (2 * COPPER_SEC) /* of the time for one address */

/* ---- networks and addresses ---- */

struct network {
    const char *name;
    int family, type;
};

static const struct network *find_network(const char *name)
{
    static const struct network networks[] = {
        {"tcp", AF_UNSPEC, SOCK_STREAM},         {"tcp4", AF_INET, SOCK_STREAM},
        {"tcp6", AF_INET6, SOCK_STREAM},         {"udp", AF_UNSPEC, SOCK_DGRAM},
        {"udp4", AF_INET, SOCK_DGRAM},           {"udp6", AF_INET6, SOCK_DGRAM},
        {"unix", AF_UNIX, SOCK_STREAM},          {"unixgram", AF_UNIX, SOCK_DGRAM},
        {"unixpacket", AF_UNIX, SOCK_SEQPACKET},
    };
    for (size_t i = 0; i < ARRAY_LEN(networks); i++) {
        if (strcmp(networks[i].name, name) == 0) {
            return &networks[i];
        }
    }
    return NULL;
}

/* The addresses of one text, in the order in which to try them. */
struct addresses {
    struct addrinfo *first;
    struct addrinfo one; /* unix: the list itself */
    struct sockaddr_un path;
};

static void forget(struct addresses *a)
{
    if (a->first && a->first != &a->one) {
        freeaddrinfo(a->first);
    }
}

static int parse_path(const struct network *network, const char *text, struct addresses *out)
{
    size_t length = strlen(text);
    if (length == 0) {
        return -EINVAL;
    }
    if (length >= sizeof(out->path.sun_path)) {
        return -ENAMETOOLONG;
    }
    out->path.sun_family = AF_UNIX;
    memcpy(out->path.sun_path, text, length + 1);
    size_t used = offsetof(struct sockaddr_un, sun_path) + length + 1;
    if (text[0] == '@') {
        out->path.sun_path[0] = 0; /* the name follows, and has no end */
        used--;
    }
    out->one = (struct addrinfo){.ai_family = AF_UNIX,
                                 .ai_socktype = network->type,
                                 .ai_addr = (struct sockaddr *)&out->path,
                                 .ai_addrlen = (socklen_t)used};
    out->first = &out->one;
    return 0;
}

/* "host:port", with the host in brackets where it has colons itself. */
static int split(const char *text, char *host, size_t size, const char **port)
{
    const char *colon = strrchr(text, ':'), *end = colon;
    if (colon == NULL || colon[1] == 0) {
        return -EINVAL;
    }
    if (text[0] == '[') {
        if (colon[-1] != ']') {
            return -EINVAL;
        }
        text++;
        end--;
    } else if (memchr(text, ':', (size_t)(colon - text))) {
        return -EINVAL;
    }
    if ((size_t)(end - text) >= size) {
        return -ENAMETOOLONG;
    }
    memcpy(host, text, (size_t)(end - text));
    host[end - text] = 0;
    *port = colon + 1;
    return 0;
}

static int parse(const char *network_name, const char *text, bool listens,
                 const struct cu__until *until, struct addresses *out)
{
    char host[NI_MAXHOST];
    const char *port;
    const struct network *network = find_network(network_name);
    out->first = NULL;
    if (network == NULL) {
        return -EINVAL;
    }
    if (network->family == AF_UNIX) {
        return parse_path(network, text, out);
    }
    int error = split(text, host, sizeof(host), &port);
    if (error) {
        return error;
    }
    struct addrinfo hints = {.ai_family = network->family,
                             .ai_socktype = network->type,
                             .ai_flags = listens ? AI_PASSIVE : 0};
    return cu__resolve(host[0] ? host : NULL, port, &hints, until, &out->first);
}

/* ---- listening ---- */

static int set_option(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value)) ? -errno : 0;
}

/* Accepted sockets inherit TCP_NODELAY. */
static int prepare(int fd, const struct addrinfo *a, bool listens)
{
    bool is_inet = a->ai_family == AF_INET || a->ai_family == AF_INET6;
    int error = 0;
    if (is_inet && a->ai_socktype == SOCK_STREAM) {
        error = set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        if (error == 0 && listens) {
            error = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
        }
    }
    return error;
}

static int listen_at(const struct addrinfo *a, bool takes_both)
{
    int fd = cu_socket(a->ai_family, a->ai_socktype, a->ai_protocol);
    if (fd < 0) {
        return fd;
    }
    int error = prepare(fd, a, true);
    if (error == 0 && a->ai_family == AF_INET6) {
        error = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, !takes_both);
    }
    if (error == 0 && bind(fd, a->ai_addr, a->ai_addrlen)) {
        error = -errno;
    }
    if (error == 0 && a->ai_socktype != SOCK_DGRAM && listen(fd, SOMAXCONN)) {
        error = -errno;
    }
    if (error) {
        cu_close(fd);
    }
    return error ? error : fd;
}

/* Any address of either family: one socket of the newer family takes both, where there is one. */
static int listen_at_any(const struct addrinfo *first)
{
    int fd = -EAFNOSUPPORT;
    for (const struct addrinfo *a = first; a && fd < 0; a = a->ai_next) {
        fd = a->ai_family == AF_INET6 ? listen_at(a, true) : fd;
    }
    return fd == -EADDRINUSE || fd >= 0 ? fd : listen_at(first, false);
}

int cu_listen(const char *network, const char *address)
{
    struct addresses a;
    int fd = parse(network, address, true, &for_ever, &a);
    if (fd == 0) {
        bool is_any = address[0] == ':' && a.first->ai_family != AF_UNIX &&
                      find_network(network)->family == AF_UNSPEC;
        fd = is_any ? listen_at_any(a.first) : listen_at(a.first, false);
    }
    forget(&a);
    return fd;
}

/* ---- dialling ---- */

/* A port of this machine that nobody listens on may be the one we dial from: TCP then connects the
 * socket to itself. */
static bool is_self_connected(int fd)
{
    struct sockaddr_storage here, there;
    socklen_t n = sizeof(here), m = sizeof(there);
    return getsockname(fd, (struct sockaddr *)&here, &n) == 0 &&
           getpeername(fd, (struct sockaddr *)&there, &m) == 0 && n == m &&
           memcmp(&here, &there, n) == 0;
}

static int dial_one(const struct addrinfo *a, const struct cu__until *until)
{
    int fd = cu_socket(a->ai_family, a->ai_socktype, a->ai_protocol);
    if (fd < 0) {
        return fd;
    }
    int error = prepare(fd, a, false);
    error = error ? error : cu__connect_until(fd, a->ai_addr, a->ai_addrlen, until);
    if (error == 0 && a->ai_family != AF_UNIX && a->ai_socktype == SOCK_STREAM &&
        is_self_connected(fd)) {
        error = -ECONNREFUSED;
    }
    if (error) {
        cu_close(fd);
    }
    return error ? error : fd;
}

/* Until when one address may take: its part of what is left, yet not too little. */
static int64_t part_of(int64_t deadline_ns, int64_t addresses_left)
{
    if (deadline_ns == 0) {
        return 0;
    }
    int64_t now_ns = cu_now(), part_ns = (deadline_ns - now_ns) / addresses_left;
    part_ns = part_ns > LEAST_PART_NS ? part_ns : LEAST_PART_NS;
    return deadline_ns - now_ns > part_ns ? now_ns + part_ns : deadline_ns;
}

int cu__dial_until(const char *network, const char *address, const struct cu__until *until)
{
    struct addresses list = {.first = NULL};
    int fd = cu_ctx_err(until->ctx);
    fd = fd ? fd : parse(network, address, false, until, &list);
    int first_error = fd;
    int64_t left = 0;
    for (const struct addrinfo *a = list.first; a; a = a->ai_next) {
        left++;
    }
    for (const struct addrinfo *a = list.first; a; a = a->ai_next, left--) {
        struct cu__until part = {until->ctx, part_of(until->deadline_ns, left)};
        fd = dial_one(a, &part);
        first_error = first_error ? first_error : fd;
        if (fd >= 0 || fd == -ECANCELED || (until->deadline_ns && cu_now() >= until->deadline_ns)) {
            break;
        }
    }
    forget(&list);
    return fd >= 0 && list.first ? fd : first_error;
}

int cu_dial(const char *network, const char *address, int64_t timeout_ns)
{
    struct cu__until until = {NULL, timeout_ns < 0 ? 0 : cu__deadline(timeout_ns)};
    return cu__dial_until(network, address, &until);
}

int cu_dial_ctx(cu_ctx *ctx, const char *network, const char *address)
{
    struct cu__until until = {ctx, ctx ? cu_ctx_deadline(ctx) : 0};
    return cu__dial_until(network, address, &until);
}

int cu_resolve(const char *network, const char *address, struct sockaddr *out, socklen_t *length)
{
    struct addresses a;
    int error = parse(network, address, false, &for_ever, &a);
    if (error == 0) {
        socklen_t needed = a.first->ai_addrlen;
        error = *length < needed ? -ENAMETOOLONG : 0;
        memcpy(out, a.first->ai_addr, error ? 0 : needed);
        *length = needed;
    }
    forget(&a);
    return error;
}

/* ---- back to text ---- */

static void path_text(const struct sockaddr_un *path, socklen_t length, char *text, size_t size)
{
    size_t used = length > offsetof(struct sockaddr_un, sun_path)
                      ? length - offsetof(struct sockaddr_un, sun_path)
                      : 0;
    if (used && path->sun_path[0] == 0) {
        snprintf(text, size, "@%.*s", (int)used - 1, path->sun_path + 1);
    } else {
        snprintf(text, size, "%.*s", (int)used, path->sun_path);
    }
}

const char *cu_address_text(const struct sockaddr *address, socklen_t length, char *text,
                            size_t size)
{
    char host[INET6_ADDRSTRLEN + 1 + 10];
    text[0] = 0;
    if (length < sizeof(address->sa_family)) {
        return text;
    }
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        snprintf(text, size, "%s:%u", host, ntohs(in->sin_port));
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)(const void *)address;
        inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof(host));
        if (in->sin6_scope_id) {
            snprintf(host + strlen(host), sizeof(host) - strlen(host), "%%%u", in->sin6_scope_id);
        }
        snprintf(text, size, "[%s]:%u", host, ntohs(in->sin6_port));
    } else if (address->sa_family == AF_UNIX) {
        path_text((const struct sockaddr_un *)(const void *)address, length, text, size);
    }
    return text;
}

static int address_of(int fd, int (*get)(int, struct sockaddr *, socklen_t *), char *text,
                      size_t size)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    text[0] = 0;
    if (get(fd, (struct sockaddr *)&address, &length)) {
        return -errno;
    }
    cu_address_text((struct sockaddr *)&address, length, text, size);
    return 0;
}

static int get_local(int fd, struct sockaddr *address, socklen_t *length)
{
    return getsockname(fd, address, length);
}

static int get_peer(int fd, struct sockaddr *address, socklen_t *length)
{
    return getpeername(fd, address, length);
}

int cu_local_address(int fd, char *text, size_t size)
{
    return address_of(fd, get_local, text, size);
}

int cu_peer_address(int fd, char *text, size_t size)
{
    return address_of(fd, get_peer, text, size);
}
