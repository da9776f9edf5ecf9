/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: cu_pprof_serve: where to listen, under which conditions, and who is told.
 *
 * Invariants: at most one server in a process. A child of fork has none: it has our globals but not
 * our threads, so they are reset there and the inherited listening socket is closed, or the port
 * would stay taken after the parent has gone.
 *
 * Concurrency: one mutex round start and stop. cu_pprof_address reads a flag that is set last.
 */
#include "serve.h"
#include "discovery.h"
#include "http_server.h"
#include "profiles.h"
#include "server_sockets.h"

#include <arpa/inet.h>
#include <copper/profiler.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct cu__http_server *server; /* lock: lock */
static int listening_socket = -1;      /* lock: lock */
static bool watches_fork;              /* lock: lock */
static char address_text[72]; /* written before is_serving is set */
static atomic_bool is_serving;

int cu__parse_listen_address(const char *text, uint32_t *ip, uint16_t *port)
{
    char host[16];
    const char *colon = text ? strrchr(text, ':') : NULL;
    size_t n = colon ? (size_t)(colon - text) : 0;
    if (!colon || n == 0 || n >= sizeof(host)) {
        return -EINVAL;
    }
    memcpy(host, text, n);
    host[n] = '\0';
    size_t digits = strspn(colon + 1, "0123456789");
    unsigned long number = strtoul(colon + 1, NULL, 10);
    if (digits == 0 || digits > 5 || colon[1 + digits] != '\0' || number > 65535) {
        return -EINVAL;
    }
    struct in_addr in;
    if (inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, &in) != 1) {
        return -EINVAL;
    }
    *ip = ntohl(in.s_addr);
    *port = (uint16_t)number;
    return 0;
}

static void reset_in_child(void)
{
    pthread_mutex_init(&lock, NULL);
    if (listening_socket >= 0) {
        close(listening_socket);
    }
    listening_socket = -1;
    server = NULL; /* its threads are not here; its memory stays as it is */
    atomic_store(&is_serving, false);
}

/* Called with the lock held. */
static int start(uint32_t ip, uint16_t port)
{
    struct cu__access access = {.is_loopback = ip >> 24 == 127};
    struct in_addr in = {htonl(ip)};
    inet_ntop(AF_INET, &in, access.host, sizeof(access.host));
    int err = cu__access_read_token(&access);
    if (!err && !access.is_loopback && access.token_length == 0) {
        err = -EACCES;
    }
    if (!err && cu__http_is_captured()) {
        err = -ENOTSUP;
    }
    if (!err) {
        err = cu__http_start(&access, ip, &port, &server);
    }
    explicit_bzero(access.token, sizeof(access.token));
    if (err) {
        return err;
    }
    listening_socket = cu__listening_socket(port);
    snprintf(address_text, sizeof(address_text), "%s:%u", access.host, port);
    atomic_store(&is_serving, true);
    if (!watches_fork) {
        watches_fork = pthread_atfork(NULL, NULL, reset_in_child) == 0;
    }
    cu__discovery_publish(address_text); /* a failure costs `copper list` only */
    return 0;
}

int cu_pprof_serve(const char *address)
{
    uint32_t ip;
    uint16_t port;
    int err = cu__parse_listen_address(address, &ip, &port);
    if (err) {
        return err;
    }
    if (getauxval(AT_SECURE)) {
        return -EACCES; /* runs with rights that its caller does not have */
    }
    pthread_mutex_lock(&lock);
    err = server ? -EALREADY : start(ip, port);
    pthread_mutex_unlock(&lock);
    return err;
}

const char *cu_pprof_address(void)
{
    return atomic_load(&is_serving) ? address_text : NULL;
}

void cu_pprof_stop(void)
{
    pthread_mutex_lock(&lock);
    struct cu__http_server *stopping = server;
    if (stopping) {
        atomic_store(&is_serving, false);
        cu__discovery_withdraw();
        cu__http_stop(stopping);
        server = NULL;
        listening_socket = -1;
    }
    pthread_mutex_unlock(&lock);
}

/* At exit nothing is stopped or freed: other threads may still be in our code. */
__attribute__((destructor)) static void withdraw_at_exit(void)
{
    if (atomic_load(&is_serving)) {
        cu__discovery_withdraw();
    }
}
