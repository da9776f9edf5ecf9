/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what a benchmark costs without coroutines: the same work on one thread, as a state
 * machine over epoll. What it takes is the kernel's part, and so the limit for any runtime.
 *
 * usage: peer netpoll_echo [TRIPS]
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BYTES   64
#define CROWDED 100
#define EVENTS  128

struct end {
    int fd;
    bool asks;  /* it writes first, and again once it has its answer; else it echoes */
    long trips; /* still to begin */
    size_t filled;
    char buffer[BYTES];
};

static int epoll;
static long asking;

static void must(bool good, const char *what)
{
    if (!good) {
        perror(what);
        exit(1);
    }
}

static void write_all(struct end *e)
{
    must(write(e->fd, e->buffer, BYTES) == BYTES, "write");
}

/* A whole message is there. */
static void answer(struct end *e)
{
    e->filled = 0;
    if (!e->asks || e->trips-- > 0) {
        write_all(e);
    } else {
        asking--;
    }
}

static void see_to(struct end *e)
{
    ssize_t n = read(e->fd, e->buffer + e->filled, BYTES - e->filled);
    must(n > 0, "read");
    e->filled += (size_t)n;
    if (e->filled == BYTES) {
        answer(e);
    }
}

static void open_end(struct end *e, int fd, long trips)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = e};
    int on = 1;
    must(fd >= 0, "a socket");
    *e = (struct end){.fd = fd, .asks = trips > 0, .trips = trips};
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
}

static void open_pair(int listener, struct end *ends, long trips)
{
    struct sockaddr_in address;
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    must(getsockname(listener, (struct sockaddr *)&address, &size) == 0, "getsockname");
    must(connect(fd, (struct sockaddr *)&address, size) == 0, "connect");
    open_end(&ends[0], fd, trips);
    open_end(&ends[1], accept4(listener, NULL, NULL, SOCK_NONBLOCK), 0);
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void run(const char *name, int connections, long trips)
{
    static struct end ends[2 * CROWDED];
    struct epoll_event events[EVENTS];
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    must(listen(listener, CROWDED) == 0, "listen");
    epoll = epoll_create1(0);
    asking = connections;
    int64_t begin_ns = now_ns();
    for (int i = 0; i < connections; i++) {
        open_pair(listener, &ends[2 * i], trips / connections);
        answer(&ends[2 * i]);
    }
    while (asking > 0) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            see_to(events[i].data.ptr);
        }
    }
    double ns = (double)(now_ns() - begin_ns) / (double)(trips / connections * connections);
    printf("%s\t%.2f\tns\n", name, ns);
    for (int i = 0; i < 2 * connections; i++) {
        close(ends[i].fd);
    }
    close(epoll);
    close(listener);
}

int main(int argc, char **argv)
{
    long trips = argc > 2 ? atol(argv[2]) : 200000;
    if (argc > 1 && strcmp(argv[1], "netpoll_echo") == 0) {
        run("netpoll_echo_one", 1, trips / 4);
        run("netpoll_echo", CROWDED, trips);
    }
    return 0;
}
