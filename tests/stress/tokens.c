/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: channels under stress: every token that was sent arrives once, in whatever way it was
 * sent, and a context that ends a call has changed nothing.
 *
 * Residents receive from each channel until it is closed at the end of the round, one of them a
 * plain thread; so every send ends.
 */
#include <copper/chan.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>
#include <pthread.h>

#include "stress.h"

#define CHANNELS   6
#define TOKENS_MAX 20000u

static struct {
    cu_chan *channels[CHANNELS];
    cu_wg drainers;
    pthread_t thread;
    uint64_t sent;               /* atomic */
    uint8_t arrived[TOKENS_MAX]; /* atomic */
} * t;

bool token_new(struct token *token)
{
    token->number = __atomic_fetch_add(&t->sent, 1, __ATOMIC_RELAXED);
    token->check = ~token->number;
    token->filler = 0;
    return token->number < TOKENS_MAX;
}

void token_arrives(const struct token *token)
{
    check(token->check == ~token->number && token->number < TOKENS_MAX);
    check(__atomic_fetch_add(&t->arrived[token->number], 1, __ATOMIC_RELAXED) == 0);
}

cu_chan *token_channel(uint64_t random)
{
    return t->channels[random % CHANNELS];
}

static void drain(void *channel)
{
    struct token token;
    int error;
    while ((error = cu_recv(channel, &token)) == 0) {
        token_arrives(&token);
    }
    check(error == -EPIPE && token.number == 0);
}

static void *drain_in_thread(void *channel)
{
    drain(channel);
    return NULL;
}

static void begin(uint64_t seed)
{
    t = calloc(1, sizeof(*t));
    check(t != NULL);
    for (size_t i = 0; i < CHANNELS; i++) {
        t->channels[i] = cu_chan_new(sizeof(struct token), next_random(&seed) % 4 * i);
        check(t->channels[i] != NULL);
        check(cu_wg_go(&t->drainers, drain, t->channels[i]) > 0);
    }
    check(pthread_create(&t->thread, NULL, drain_in_thread, t->channels[0]) == 0);
}

static void end(void)
{
    for (size_t i = 0; i < CHANNELS; i++) {
        cu_chan_close(t->channels[i]);
    }
    cu_wg_wait(&t->drainers);
    pthread_join(t->thread, NULL);
}

static void verify(void)
{
    uint64_t sent = t->sent < TOKENS_MAX ? t->sent : TOKENS_MAX;
    for (uint64_t i = 0; i < sent; i++) {
        check(t->arrived[i] == 1);
    }
    for (size_t i = 0; i < CHANNELS; i++) {
        check(cu_chan_len(t->channels[i]) == 0);
        cu_chan_unref(t->channels[i]);
    }
    free(t);
}

/* ---- steps ---- */

static void send_one(uint64_t random)
{
    struct token token;
    cu_chan *c = token_channel(draw(&random, CHANNELS));
    if (!token_new(&token)) {
        return;
    }
    switch (draw(&random, 4)) {
    case 0:
        if (cu_try_send(c, &token) == 0) {
            return;
        }
        break;
    case 1: {
        cu_ctx *ctx = cu_ctx_with_timeout(NULL, draw(&random, 200) * COPPER_US);
        int error = cu_send_ctx(ctx, c, &token);
        check(error == 0 || error == -ETIMEDOUT);
        cu_ctx_end(ctx);
        if (error == 0) {
            return;
        }
        break;
    }
    default:
        break;
    }
    check(cu_send(c, &token) == 0);
}

static void receive_one(uint64_t random)
{
    struct token token = {.check = random};
    cu_chan *c = token_channel(draw(&random, CHANNELS));
    int error;
    if (draw(&random, 2)) {
        error = cu_try_recv(c, &token);
    } else {
        cu_ctx *ctx = cu_ctx_with_timeout(NULL, draw(&random, 500) * COPPER_US);
        error = cu_recv_ctx(ctx, c, &token);
        cu_ctx_end(ctx);
    }
    if (error == 0) {
        token_arrives(&token);
    } else {
        check(error == -EAGAIN || error == -ETIMEDOUT);
    }
}

struct meeting {
    cu_chan *c;
    uint64_t received, refused; /* atomic */
};

static void receive_until_closed(void *arg)
{
    struct meeting *m = arg;
    uint64_t value;
    while (cu_recv(m->c, &value) == 0) {
        check(value == 7);
        __atomic_fetch_add(&m->received, 1, __ATOMIC_RELAXED);
    }
    check(value == 0);
    cu_chan_unref(m->c);
}

static void send_until_closed(void *arg)
{
    struct meeting *m = arg;
    uint64_t value = 7;
    int error = cu_send(m->c, &value);
    check(error == 0 || error == -EPIPE);
    __atomic_fetch_add(&m->refused, error != 0, __ATOMIC_RELAXED);
    cu_chan_unref(m->c);
}

/* A private channel, closed while others wait on it; the buffer is received all the same. */
static void close_under_waiters(uint64_t random)
{
    bool are_senders = draw(&random, 2);
    size_t cap = draw(&random, 3);
    struct meeting m = {.c = cu_chan_new(sizeof(uint64_t), cap)};
    uint64_t value = 7, sent = 0;
    cu_wg wg = {0};
    unsigned count = 1 + draw(&random, 4);
    for (unsigned i = 0; i < count; i++) {
        cu_chan_ref(m.c);
        check(cu_wg_go(&wg, are_senders ? send_until_closed : receive_until_closed, &m) > 0);
    }
    dawdle(random);
    if (!are_senders) {
        sent += cu_try_send(m.c, &value) == 0;
    }
    cu_chan_close(m.c);
    check(cu_send(m.c, &value) == -EPIPE);
    cu_wg_wait(&wg);
    while (cu_recv(m.c, &value) == 0) {
        m.received++;
    }
    check(m.received == (are_senders ? count - m.refused : sent));
    check(m.received <= (are_senders ? cap : 1));
    cu_chan_unref(m.c);
}

static void step(uint64_t random)
{
    switch (draw(&random, 8)) {
    case 0:
    case 1:
        receive_one(random);
        break;
    case 2:
        close_under_waiters(random);
        break;
    default:
        send_one(random);
    }
}

const struct concept tokens_concept = {"channels", begin, step, end, verify};
