/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: pipes and sockets beside everything else: bytes arrive once and in order, and waits on
 * descriptors end by data, by the end of the line, by a deadline, by a context, by a close.
 * netpoll_stress.c has the descriptors to itself and does more with them.
 */
#include <copper/inspect.h>
#include <copper/io.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>

#include "stress.h"

#define LINES_MAX 64 /* at once: descriptors are few */
#define PIECE     700

static cu_sem lines;

struct line {
    int in, out;
    uint64_t random;
    unsigned bytes;
};

static void begin(uint64_t seed)
{
    (void)seed;
    lines = (cu_sem){0};
    cu_sem_init(&lines, LINES_MAX);
}

static void verify(void)
{
    check(cu_sem_units(&lines) == LINES_MAX);
}

static void open_line(struct line *l, uint64_t random)
{
    int fds[2];
    check(cu_sem_acquire(&lines, 1) == 0);
    check((random & 1 ? cu_pipe(fds) : cu_socketpair(AF_UNIX, SOCK_STREAM, 0, fds)) == 0);
    *l = (struct line){.in = fds[0], .out = fds[1], .random = random};
}

static char byte_at(const struct line *l, unsigned i)
{
    return (char)(l->random + i * 7 + (i >> 8));
}

static void write_line(void *arg)
{
    struct line *l = arg;
    char piece[PIECE];
    uint64_t random = l->random;
    for (unsigned at = 0, n; at < l->bytes; at += n) {
        n = 1 + (unsigned)(next_random(&random) % PIECE);
        n = n < l->bytes - at ? n : l->bytes - at;
        for (unsigned i = 0; i < n; i++) {
            piece[i] = byte_at(l, at + i);
        }
        check(cu_write(l->out, piece, n) == (ssize_t)n);
        if (at < 8 * PIECE) {
            dawdle(random);
        }
    }
    check(cu_close(l->out) == 0);
}

/* Reads to the end, in whichever of these ways: plainly, polling first, with deadlines that pass.
 */
static unsigned read_line(struct line *l, unsigned way)
{
    char piece[PIECE];
    unsigned at = 0;
    for (;;) {
        if (way == 1) {
            struct pollfd p = {l->in, POLLIN, 0};
            check(cu_poll(&p, 1, COPPER_MS) >= 0);
        } else if (way == 2) {
            check(cu_fd_deadline(l->in, COPPER_READ, cu_now() + 50 * COPPER_US) == 0);
        }
        ssize_t n = cu_read(l->in, piece, PIECE / 4 + l->random % (PIECE * 3 / 4));
        if (n == -ETIMEDOUT && way == 2) {
            check(cu_fd_deadline(l->in, COPPER_READ, 0) == 0);
            continue;
        }
        check(n >= 0);
        if (n == 0) {
            return at;
        }
        for (ssize_t i = 0; i < n; i++) {
            check(piece[i] == byte_at(l, at + (unsigned)i));
        }
        at += (unsigned)n;
    }
}

static void carry_bytes(uint64_t random)
{
    struct line l;
    cu_wg wg = {0};
    open_line(&l, random);
    l.bytes = draw(&random, draw(&random, 8) ? 3000 : 100000) /* more than a pipe holds */;
    check(cu_wg_go(&wg, write_line, &l) > 0);
    check(read_line(&l, draw(&random, 3)) == l.bytes);
    cu_wg_wait(&wg);
    check(cu_close(l.in) == 0);
    cu_sem_release(&lines, 1);
}

static void read_until_closed(void *arg)
{
    struct line *l = arg;
    char byte;
    check(cu_read(l->in, &byte, 1) == -EBADF);
}

struct search {
    cu_id id;
    bool waits;
};

static bool is_in_read(const struct cu_g_info *g, void *arg)
{
    struct search *s = arg;
    s->waits = g->id == s->id && g->state == COPPER_G_WAITING && g->reason == COPPER_WAIT_IO_WAIT;
    return g->id != s->id;
}

/* The reader must wait before the close: a read that came later might meet whatever has the number
 * by then. */
static void close_under_reader(uint64_t random)
{
    struct line l;
    cu_wg wg = {0};
    open_line(&l, random);
    struct search s = {.id = cu_wg_go(&wg, read_until_closed, &l)};
    check(s.id > 0);
    while (!s.waits) {
        cu_sleep(20 * COPPER_US);
        check(cu_inspect_each(is_in_read, &s) >= 0);
    }
    dawdle(random);
    check(cu_close(l.in) == 0);
    cu_wg_wait(&wg);
    check(cu_close(l.out) == 0);
    cu_sem_release(&lines, 1);
}

static void give_up_reading(uint64_t random)
{
    struct line l;
    char byte = 'a';
    open_line(&l, random);
    cu_ctx *ctx = cu_ctx_with_timeout(NULL, draw(&random, 500) * COPPER_US);
    check(cu_read_ctx(ctx, l.in, &byte, 1) == -ETIMEDOUT);
    cu_ctx_end(ctx);
    check(cu_write(l.out, "b", 1) == 1);
    check(byte == 'a' && cu_read(l.in, &byte, 1) == 1 && byte == 'b');
    check(cu_close(l.out) == 0);
    check(cu_read(l.in, &byte, 1) == 0);
    check(cu_close(l.in) == 0);
    cu_sem_release(&lines, 1);
}

static void step(uint64_t random)
{
    switch (draw(&random, 4)) {
    case 0:
        close_under_reader(random);
        break;
    case 1:
        give_up_reading(random);
        break;
    default:
        carry_bytes(random);
    }
}

const struct concept pipes_concept = {"pipes", begin, step, NULL, verify};
