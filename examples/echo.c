/* SPDX-License-Identifier: Apache-2.0
 *
 * A TCP echo server: one coroutine for each connection. Ctrl-C or SIGTERM ends it in order: no more
 * connections, and the present ones finish; those that say nothing for IDLE are closed.
 *
 *     examples/echo [ADDRESS]          default 127.0.0.1:7777; then: nc 127.0.0.1 7777
 */
#include <copper/copper.h>
#include <copper/io.h>
#include <copper/net.h>
#include <copper/signal.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define IDLE (10 * COPPER_SEC)

static void echo(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char buffer[4096];
    ssize_t n;
    do {
        cu_fd_deadline(fd, COPPER_READ | COPPER_WRITE, cu_now() + IDLE);
        n = cu_read(fd, buffer, sizeof(buffer));
    } while (n > 0 && cu_write(fd, buffer, (size_t)n) == n);
    cu_close(fd);
}

struct stop { cu_chan *signals; int listener; };

static void stop_on_signal(void *arg)
{
    struct stop *stop = arg;
    int sig;
    if (cu_recv(stop->signals, &sig) == 0) {
        fprintf(stderr, "echo: %s, closing\n", strsignal(sig));
        cu_close(stop->listener); /* this ends cu_accept with -EBADF */
    }
}

static int serve(void *address)
{
    char text[COPPER_ADDRESS_MAX];
    cu_wg connections = {0}, stopper = {0};
    int fd;
    struct stop stop = {cu_chan_new(sizeof(int), 1), cu_listen("tcp", address)};
    if (stop.listener < 0)
        return fprintf(stderr, "echo: %s: %s\n", (char *)address, strerror(-stop.listener)), 1;
    cu_signal_notify(stop.signals, (const int[]){SIGINT, SIGTERM}, 2);
    cu_wg_go(&stopper, stop_on_signal, &stop);
    cu_local_address(stop.listener, text, sizeof(text));
    printf("listening on %s\n", text);
    fflush(stdout);

    while ((fd = cu_accept(stop.listener, NULL, NULL)) >= 0 || fd == -EMFILE || fd == -ENFILE)
        if (fd < 0)
            cu_sleep(50 * COPPER_MS); /* until some are closed */
        else if (cu_wg_go(&connections, echo, (void *)(intptr_t)fd) < 0)
            cu_close(fd);

    cu_signal_stop(stop.signals);
    cu_chan_close(stop.signals);
    cu_wg_wait(&stopper);
    cu_wg_wait(&connections);
    cu_chan_unref(stop.signals);
    return fd == -EBADF ? 0 : 1;
}

int main(int argc, char **argv)
{
    return cu_run(serve, argc > 1 ? argv[1] : "127.0.0.1:7777");
}
