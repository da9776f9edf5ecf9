/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: find the server's own sockets among the process's descriptors, because the HTTP library
 * does not tell them: the one that listens, and the one a request came through.
 *
 * Design. The kernel says of each descriptor what it is connected to. A connection's four numbers
 * (both addresses and ports) name it alone, so the descriptor found is the right one or a
 * duplicate. It stays open while its request is being handled.
 */
#ifndef COPPER_SERVER_SOCKETS_H
#define COPPER_SERVER_SOCKETS_H

#include <stdbool.h>
#include <stdint.h>

/* The connection from ip:port (text and host order) to our port. -1: none. */
int cu__connection_socket(const char *client_ip, uint16_t client_port, uint16_t server_port);

/* The socket that listens on port. -1: none. */
int cu__listening_socket(uint16_t port);

/* Has the other side closed, or reset, the connection? Does not read from it. */
bool cu__socket_is_gone(int fd);

/* Can ip:port be bound? 0 or -errno (-EADDRINUSE, -EADDRNOTAVAIL, -EACCES, ...). ip in host order.
 */
int cu__address_is_free(uint32_t ip, uint16_t port);

#endif
