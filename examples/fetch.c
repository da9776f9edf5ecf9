/* SPDX-License-Identifier: Apache-2.0
 *
 * A thousand fetches over HTTP, at most so many at once; the first that fails decides. The server
 * is in this program, too, and takes its time for each answer.
 *
 *     examples/fetch [LIMIT]           default 100
 */
#include <copper/copper.h>
#include <copper/io.h>
#include <copper/net.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FETCHES 1000

/* ---- the server ---- */
static void answer(void *arg)
{
    int fd = (int)(intptr_t)arg, page = 0;
    char request[512] = "", reply[128];
    for (size_t used = 0; strstr(request, "\r\n\r\n") == NULL;) {
        ssize_t n = cu_read(fd, request + used, sizeof(request) - 1 - used);
        if (n <= 0) {
            cu_close(fd);
            return;
        }
        used += (size_t)n;
    }
    cu_sleep(10 * COPPER_MS);
    sscanf(request, "GET /%d ", &page);
    int n = snprintf(reply, sizeof(reply), "HTTP/1.0 200 OK\r\n\r\npage %d\n", page);
    cu_write(fd, reply, (size_t)n);
    cu_close(fd);
}

static void serve(void *listener)
{
    for (int fd; (fd = cu_accept(*(int *)listener, NULL, NULL)) >= 0;)
        if (cu_go(answer, (void *)(intptr_t)fd) < 0)
            cu_close(fd);
}

/* ---- the client ---- */
static char address[COPPER_ADDRESS_MAX];
static int64_t bytes; /* atomic */

static int fetch(void *number)
{
    char text[512], wanted[64];
    int fd = cu_dial("tcp", address, 5 * COPPER_SEC);
    if (fd < 0)
        return fd;
    int n = snprintf(text, sizeof(text), "GET /%d HTTP/1.0\r\n\r\n", (int)(intptr_t)number);
    cu_fd_deadline(fd, COPPER_READ | COPPER_WRITE, cu_now() + 10 * COPPER_SEC);
    ssize_t got = cu_write(fd, text, (size_t)n);
    if (got == n)
        got = cu_read_full(fd, text, sizeof(text) - 1); /* until the server closes */
    cu_close(fd);
    if (got < 0)
        return (int)got;
    text[got] = '\0';
    snprintf(wanted, sizeof(wanted), "\r\n\r\npage %d\n", (int)(intptr_t)number);
    __atomic_fetch_add(&bytes, got, __ATOMIC_RELAXED);
    return strstr(text, wanted) ? 0 : -EBADMSG;
}

static int app(void *limit)
{
    cu_wg server = {0};
    cu_group fetches = {0};
    int listener = cu_listen("tcp", "127.0.0.1:0");
    if (listener < 0 || cu_local_address(listener, address, sizeof(address)))
        return fprintf(stderr, "fetch: no listener: %s\n", strerror(-listener)), 1;
    cu_wg_go(&server, serve, &listener);
    cu_group_set_limit(&fetches, *(int *)limit);
    for (intptr_t i = 0; i < FETCHES; i++)
        cu_group_go(&fetches, fetch, (void *)i); /* waits while `limit` are under way */
    int error = cu_group_wait(&fetches);
    cu_close(listener);
    cu_wg_wait(&server);
    if (error)
        return fprintf(stderr, "fetch: %s\n", strerror(-error)), 1;
    return printf("%d pages, %lld bytes\n", FETCHES, (long long)bytes), 0;
}

int main(int argc, char **argv)
{
    int limit = argc > 1 ? atoi(argv[1]) : 100;
    return limit > 0 ? cu_run(app, &limit) : (fprintf(stderr, "usage: %s [LIMIT]\n", argv[0]), 2);
}
