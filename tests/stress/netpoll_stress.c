/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: random traffic over pipes and sockets against a model: every byte arrives once, in
 * order, and no call hangs, whatever is closed or timed out meanwhile.
 *
 * Each round opens lines of random kinds (our pipes and socket pairs, TCP, unix, foreign pipes),
 * with a writer and a reader each, coroutines or plain threads. What is written follows from the
 * line's seed, so that the reader knows every byte. Deadlines are set and taken back, readers poll
 * first, and on some lines a third one closes an end in the middle: then what arrived must be a
 * beginning of what was sent, and both must notice. Descriptors are closed and opened all the time,
 * so that numbers are reused at once. At the end of a round no descriptor is left open.
 *
 * usage: netpoll_stress [SECONDS [SEED [LINES]]]
 */
#include <copper/chan.h>
#include <copper/go.h>
#include <copper/io.h>
#include <copper/net.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "seeded.h"

#define CHUNK 20000

uint64_t stress_seed;

/* Byte i of a line's stream. */
static char byte_at(uint64_t seed, uint64_t i)
{
    uint64_t z = (seed + (i >> 3)) * 0xBF58476D1CE4E5B9u;
    return (char)((z ^ z >> 31) >> (i & 7) * 8);
}

enum kind { OUR_PIPE, OUR_PAIR, OVER_TCP, OVER_UNIX, FOREIGN_PIPE, KINDS };

struct line {
    uint64_t seed;
    enum kind kind;
    int in, out;       /* read from, write to */
    uint64_t total;    /* bytes to send */
    uint64_t sent;     /* written by the writer */
    bool may_be_cut;   /* somebody closes an end in the middle */
    bool is_timed;     /* deadlines come and go */
    int left;          /* atomic; who still uses it */
    bool is_in_closed; /* atomic */
    cu_wg reading;     /* the reader */
    cu_wg *wg;
};

static int listeners[2]; /* TCP, unix */
static char addresses[2][COPPER_ADDRESS_MAX];
/* Held by who opens descriptors: while a cutter has it, the number it closed is nobody's, and the
 * reader's next call on it can only fail. */
static cu_mutex opening;
static uint64_t bytes_moved, lines_run, lines_cut;

/* ---- one line ---- */

static void close_in(struct line *l)
{
    if (!__atomic_exchange_n(&l->is_in_closed, true, __ATOMIC_ACQ_REL)) {
        check(cu_close(l->in) == 0);
    }
}

static void leave(struct line *l)
{
    cu_wg *wg = l->wg;
    if (__atomic_sub_fetch(&l->left, 1, __ATOMIC_ACQ_REL) == 0) {
        close_in(l);
        free(l);
    }
    cu_wg_done(wg);
}

static bool has_been_cut(const struct line *l, ssize_t n)
{
    return l->may_be_cut && (n == -EBADF || n == -EPIPE || n == -ECONNRESET || n == 0);
}

static void doze(uint64_t random)
{
    if (random % 8 == 0) {
        cu_yield();
    } else if (random % 64 == 1) {
        cu_sleep((int64_t)(random % 1000) * COPPER_US);
    }
}

static void write_line(struct line *l)
{
    uint64_t state = l->seed;
    char *bytes = malloc(CHUNK);
    while (l->sent < l->total) {
        uint64_t size = 1 + next_random(&state) % (next_random(&state) % 16 ? 200 : CHUNK);
        size = size < l->total - l->sent ? size : l->total - l->sent;
        for (uint64_t i = 0; i < size; i++) {
            bytes[i] = byte_at(l->seed, l->sent + i);
        }
        ssize_t n = cu_write(l->out, bytes, size);
        if (n == -ETIMEDOUT && l->is_timed) {
            check(cu_fd_deadline(l->out, COPPER_WRITE, 0) == 0);
            continue;
        }
        if (n <= 0) {
            check(has_been_cut(l, n));
            break;
        }
        check(n == (ssize_t)size || l->is_timed || l->may_be_cut);
        l->sent += (uint64_t)n;
        doze(next_random(&state));
    }
    check(cu_close(l->out) == 0);
    free(bytes);
}

static void read_line(struct line *l)
{
    uint64_t state = ~l->seed, got = 0;
    char *bytes = malloc(CHUNK);
    for (;;) {
        uint64_t size = 1 + next_random(&state) % (next_random(&state) % 16 ? 300 : CHUNK);
        if (next_random(&state) % 16 == 0) {
            struct pollfd p = {l->in, POLLIN, 0};
            int n = cu_poll(&p, 1, l->is_timed ? COPPER_MS : -1);
            check(n >= 0 || has_been_cut(l, n));
        }
        if (l->is_timed && next_random(&state) % 8 == 0) {
            int64_t until_ns = cu_now() + (int64_t)(next_random(&state) % 300) * COPPER_US;
            check(cu_fd_deadline(l->in, COPPER_READ, until_ns) == 0 || l->may_be_cut);
        }
        ssize_t n = cu_read(l->in, bytes, size);
        if (n == -ETIMEDOUT && l->is_timed) {
            check(cu_fd_deadline(l->in, COPPER_READ, 0) == 0 || l->may_be_cut);
            continue;
        }
        if (n <= 0) {
            check((n == 0 && got == l->total) || has_been_cut(l, n));
            break;
        }
        for (uint64_t i = 0; i < (uint64_t)n; i++) {
            check(bytes[i] == byte_at(l->seed, got + i));
        }
        got += (uint64_t)n;
        doze(next_random(&state));
    }
    check(got <= l->total);
    __atomic_fetch_add(&bytes_moved, got, __ATOMIC_RELAXED);
    free(bytes);
}

static void writer(void *arg)
{
    write_line(arg);
    leave(arg);
}

static void reader(void *arg)
{
    struct line *l = arg;
    read_line(l);
    cu_wg_done(&l->reading);
    leave(l);
}

static void cutter(void *arg)
{
    struct line *l = arg;
    cu_sleep((int64_t)(l->seed % 3000) * COPPER_US);
    cu_mutex_lock(&opening);
    close_in(l);
    cu_wg_wait(&l->reading);
    cu_mutex_unlock(&opening);
    __atomic_fetch_add(&lines_cut, 1, __ATOMIC_RELAXED);
    leave(l);
}

static void *writer_thread(void *arg)
{
    writer(arg);
    return NULL;
}

static void *reader_thread(void *arg)
{
    reader(arg);
    return NULL;
}

/* ---- opening ---- */

static void connect_line(struct line *l, int which)
{
    l->out = cu_dial(which ? "unix" : "tcp4", addresses[which], -1);
    l->in = cu_accept(listeners[which], NULL, NULL);
}

static void open_line(struct line *l)
{
    int fds[2] = {-1, -1};
    if (l->kind == OVER_TCP || l->kind == OVER_UNIX) {
        connect_line(l, l->kind == OVER_UNIX);
    } else if (l->kind == OUR_PAIR) {
        check(cu_socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    } else {
        check((l->kind == OUR_PIPE ? cu_pipe(fds) : pipe(fds)) == 0);
    }
    if (fds[0] >= 0) {
        l->in = fds[0];
        l->out = fds[1];
    }
    check(l->in >= 0 && l->out >= 0);
}

static void start_thread(void *(*fn)(void *), void *arg)
{
    pthread_t thread;
    check(pthread_create(&thread, NULL, fn, arg) == 0);
    pthread_detach(thread);
}

static void start_line(uint64_t seed, cu_wg *wg)
{
    struct line *l = calloc(1, sizeof(*l));
    uint64_t random = seed;
    check(l != NULL);
    l->seed = next_random(&random);
    l->kind = (enum kind)(next_random(&random) % KINDS);
    l->total = next_random(&random) % (next_random(&random) % 8 ? 3000 : 300000);
    l->may_be_cut = next_random(&random) % 8 == 0;
    l->is_timed = next_random(&random) % 4 == 0;
    l->left = 2 + l->may_be_cut;
    l->wg = wg;
    cu_mutex_lock(&opening);
    open_line(l);
    cu_mutex_unlock(&opening);
    lines_run++;
    cu_wg_add(wg, l->left);
    cu_wg_add(&l->reading, 1);
    bool is_cut = l->may_be_cut; /* l may be gone soon */
    if (next_random(&random) % 64 == 0) {
        start_thread(writer_thread, l);
    } else {
        check(cu_go(writer, l) > 0);
    }
    if (next_random(&random) % 64 == 0) {
        start_thread(reader_thread, l);
    } else {
        check(cu_go(reader, l) > 0);
    }
    if (is_cut) {
        check(cu_go(cutter, l) > 0);
    }
}

static int count_descriptors(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    check(folder != NULL);
    while (readdir(folder)) {
        count++;
    }
    closedir(folder);
    return count;
}

static int64_t seconds = 8;
static int lines = 200;

static int app(void *unused)
{
    int64_t end_ns = cu_now() + seconds * COPPER_SEC;
    uint64_t rounds = 0;
    int before = 0;
    (void)unused;
    for (int i = 0; i < 2; i++) {
        char name[64];
        snprintf(name, sizeof(name), "@copper-stress-%d", (int)getpid());
        listeners[i] = i ? cu_listen("unix", name) : cu_listen("tcp4", "127.0.0.1:0");
        check(listeners[i] >= 0);
        check(cu_local_address(listeners[i], addresses[i], COPPER_ADDRESS_MAX) == 0);
    }
    do {
        cu_wg wg = {0};
        uint64_t random = stress_seed;
        for (int i = 0; i < lines; i++) {
            start_line(next_random(&random), &wg);
            doze(next_random(&random));
        }
        cu_wg_wait(&wg);
        int open_now = count_descriptors();
        check(rounds == 0 || open_now == before);
        before = open_now;
        stress_seed = next_random(&stress_seed);
        rounds++;
    } while (cu_now() < end_ns);
    printf("%llu rounds, %llu lines, %llu cut, %llu bytes\n", (unsigned long long)rounds,
           (unsigned long long)lines_run, (unsigned long long)lines_cut,
           (unsigned long long)bytes_moved);
    return lines_cut == 0 && seconds > 1;
}

int main(int argc, char **argv)
{
    seconds = argc > 1 ? atoll(argv[1]) : seconds;
    stress_seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)cu_now();
    lines = argc > 3 ? atoi(argv[3]) : lines;
    printf("seed %llu\n", (unsigned long long)stress_seed);
    fflush(stdout);
    return cu_run(app, NULL);
}
