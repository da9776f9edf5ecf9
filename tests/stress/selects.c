/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: select under stress: of any mixture of cases exactly one happens, on the channels of
 * tokens.c.
 *
 * All send cases of a select offer the same token: should two of them happen, it arrives twice.
 * Each receive case has a place of its own: only that of the chosen case may be written.
 */
#include <copper/select.h>
#include <copper/time.h>
#include <errno.h>

#include "stress.h"

#define CASES_MAX 40 /* beyond 16 the runtime needs memory */
#define UNTOUCHED 0x6e6f7468696e67u

struct attempt {
    cu_case cases[CASES_MAX];
    struct token received[CASES_MAX], offered;
    unsigned n;
    bool sends, has_end;
    cu_ctx *ctx;
};

static void add_case(struct attempt *a, uint64_t *random)
{
    unsigned i = a->n++;
    cu_chan *c = token_channel(draw(random, 64));
    a->received[i].filler = UNTOUCHED;
    switch (draw(random, 8)) {
    case 0:
    case 1:
    case 2:
        a->cases[i] = cu_on_recv(c, &a->received[i]);
        break;
    case 3:
        a->cases[i] = cu_on_recv(NULL, &a->received[i]); /* never */
        break;
    case 4:
        a->cases[i] = cu_on_after(draw(random, 400) * COPPER_US);
        a->has_end = true;
        break;
    case 5:
        if (a->ctx == NULL) {
            a->ctx = cu_ctx_with_timeout(NULL, draw(random, 400) * COPPER_US);
            check(a->ctx != NULL);
        }
        a->cases[i] = cu_on_done(a->ctx);
        a->has_end = true;
        break;
    default:
        if (a->sends || token_new(&a->offered)) {
            a->cases[i] = cu_on_send(c, &a->offered);
            a->sends = true;
        } else {
            a->cases[i] = cu_on_done(NULL); /* never */
        }
    }
}

static void check_outcome(struct attempt *a, int chosen)
{
    for (unsigned i = 0; i < a->n; i++) {
        bool is_received = a->cases[i].kind == COPPER_CASE_RECV && (int)i == chosen;
        check(is_received || a->received[i].filler == UNTOUCHED);
    }
    if (chosen < 0) {
        return;
    }
    check(chosen < (int)a->n);
    cu_case *c = &a->cases[chosen];
    if (c->kind == COPPER_CASE_RECV) {
        check(c->chan != NULL && c->err == 0);
        token_arrives(&a->received[chosen]);
    } else if (c->kind == COPPER_CASE_DONE) {
        check(c->ctx == a->ctx && c->ctx && c->err == -ETIMEDOUT);
    } else {
        check(c->err == 0);
    }
}

static void step(uint64_t random)
{
    struct attempt a = {.n = 0};
    bool tries = draw(&random, 4) == 0;
    unsigned n = draw(&random, 16) ? 1 + draw(&random, 5) : CASES_MAX - 1 - draw(&random, 20);
    uint64_t more = random;
    for (unsigned i = 0; i < n; i++) {
        random = next_random(&more);
        add_case(&a, &random);
    }
    if (!a.sends && !a.has_end) {
        a.received[a.n].filler = UNTOUCHED;
        a.cases[a.n++] = cu_on_after(COPPER_MS);
    }
    int chosen = tries ? cu_try_select(a.cases, a.n) : cu_select(a.cases, a.n);
    check(chosen >= 0 || (tries && chosen == -EAGAIN));
    check_outcome(&a, chosen);
    if (a.sends && (chosen < 0 || a.cases[chosen].kind != COPPER_CASE_SEND)) {
        check(cu_send(token_channel(random), &a.offered) == 0);
    }
    cu_ctx_end(a.ctx);
}

const struct concept select_concept = {"select", NULL, step, NULL, NULL};
