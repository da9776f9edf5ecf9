/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/net.h: sockets by address, as text: listen, dial, and who is at the other end.
 *
 *     int listener = cu_listen("tcp", "127.0.0.1:8080");
 *     for (int fd; (fd = cu_accept(listener, NULL, NULL)) >= 0;) cu_go(serve, ...);
 *
 *     int fd = cu_dial("tcp", "example.org:80", 5 * COPPER_SEC);
 *
 * Networks and their addresses:
 *
 *     tcp, tcp4, tcp6, udp, udp4, udp6   "host:port", "[::1]:port", ":port" (listen: any address;
 *                                        dial: this machine); the port by number or by its name
 *     unix, unixgram, unixpacket         a path, or "@name" for one outside of the file system
 *
 * What is returned is a descriptor of ours (copper/io.h), close-on-exec: read, write and close it
 * with the calls there. TCP: TCP_NODELAY is set, also on accepted connections; listeners have
 * SO_REUSEADDR. Everything else is as setsockopt(2) leaves it. Half a close is shutdown(2), which
 * never waits.
 *
 * Errors are -errno: -EINVAL: an unknown network, or no port in the address; -ENAMETOOLONG; those
 * of socket, bind, connect; -ETIMEDOUT; and those of cu_getaddrinfo. All may be called from
 * coroutines, where they park, and plain threads, which they block; not from signal handlers.
 */
#ifndef COPPER_NET_H
#define COPPER_NET_H

#include <copper/context.h>
#include <netdb.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct addrinfo; /* netdb.h hides it from strict ISO C */

/* Room for every address as text. */
#define COPPER_ADDRESS_MAX 128

/* A socket that listens (tcp, unix, unixpacket), for cu_accept; or one that is bound (udp,
 * unixgram), for cu_recvfrom and cu_sendto. Port 0: any; cu_local_address says which. A unix path
 * is made, and stays until somebody unlinks it. */
int cu_listen(const char *network, const char *address);

/* A connected socket. A name's addresses are tried one after the other, each for a fair part of the
 * time that is left, and the first error is reported when none answers. timeout_ns is for all of
 * it, the resolver included; negative: none. */
int cu_dial(const char *network, const char *address, int64_t timeout_ns);

/* The same, until ctx (NULL: none) is done: -ECANCELED, or -ETIMEDOUT by its deadline. A name
 * server that does not answer is not waited for: a coroutine of ours stays until it does. */
int cu_dial_ctx(cu_ctx *ctx, const char *network, const char *address);

/* The first address that `address` means, for cu_sendto. *length: room, and what was used of it. */
int cu_resolve(const char *network, const char *address, struct sockaddr *out, socklen_t *length);

/* getaddrinfo(3), which blocks: made as a blocking call. Instead of EAI_ numbers:
 * -ENOENT: no such name, or it has no address of that family; -EAGAIN: the name server does not
 * answer, later it may; -EIO: it answers with a failure; -EINVAL: bad hints or an unknown service;
 * -ENOMEM; -ENAMETOOLONG; -errno of the system. *result is for freeaddrinfo(3). */
int cu_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                   struct addrinfo **result);

/* An address in the form that the calls above take; "" for a unix socket without a name. Cut to
 * size, which is at least 1. Returns text. Any context. */
const char *cu_address_text(const struct sockaddr *address, socklen_t length, char *text,
                            size_t size);
/* This end's and the other end's address. 0, or -errno with an empty text. They never wait. */
int cu_local_address(int fd, char *text, size_t size);
int cu_peer_address(int fd, char *text, size_t size);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
