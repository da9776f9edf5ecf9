/* SPDX-License-Identifier: Apache-2.0
 *
 * One question for several sources, and a deadline: what has come in by then is the answer, and
 * who is still at work is told to stop. Nobody is left behind, whoever is late.
 *
 *     examples/deadline [MS]           default 50
 *
 * With COPPER_SCHED_SEED=1 time is the coroutines' own, and the outcome always the same.
 */
#include <copper/copper.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct question {
    cu_ctx *ctx; /* done at the deadline, or when the answer is complete */
    cu_chan *answers;
};

struct source {
    const char *name;
    int64_t takes_ns;
    const struct question *question;
};

static struct source sources[] = {
    {"cache", COPPER_MS, NULL},
    {"disk", 10 * COPPER_MS, NULL},
    {"replica", 30 * COPPER_MS, NULL},
    {"archive", 60 * COPPER_SEC, NULL},
};

#define COUNT ((int)(sizeof(sources) / sizeof(sources[0])))

/* Every wait ends with the context, so nothing here outlives the question. */
static void ask(void *arg)
{
    struct source *s = arg;
    const struct question *q = s->question;
    if (cu_sleep_ctx(q->ctx, s->takes_ns) == 0)
        cu_send_ctx(q->ctx, q->answers, &s->name);
}

static int app(void *arg)
{
    struct question q = {cu_ctx_with_timeout(NULL, *(int *)arg * COPPER_MS),
                         cu_chan_new(sizeof(char *), 0)};
    cu_ticker *progress = cu_ticker_new(20 * COPPER_MS);
    cu_wg wg = {0};
    const char *name;
    int got = 0;
    for (int i = 0; i < COUNT; i++) {
        sources[i].question = &q;
        cu_wg_go(&wg, ask, &sources[i]);
    }
    while (got < COUNT && cu_ctx_err(q.ctx) == 0) {
        cu_case c[] = {cu_on_recv(q.answers, &name), cu_on_done(q.ctx),
                       cu_on_recv(cu_ticker_chan(progress), NULL)};
        switch (cu_select(c, 3)) {
        case 0:
            printf("%s answers\n", name);
            got++;
            break;
        case 2:
            printf("...\n");
        }
    }
    printf("%d of %d, %s\n", got, COUNT, got < COUNT ? strerror(-cu_ctx_err(q.ctx)) : "complete");
    cu_ctx_cancel(q.ctx); /* nothing new once its deadline has passed */
    cu_wg_wait(&wg);
    cu_ticker_unref(progress);
    cu_chan_unref(q.answers);
    cu_ctx_end(q.ctx);
    return 0;
}

int main(int argc, char **argv)
{
    int ms = argc > 1 ? atoi(argv[1]) : 50;
    if (ms < 1)
        return fprintf(stderr, "usage: %s [MS]\n", argv[0]), 2;
    return cu_run(app, &ms);
}
