/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see resolve.h.
 *
 * Design: with a deadline or a context, the question is put by a coroutine of its own, and both
 * share a counted record: the last one frees it, with the answer if nobody wanted it any more.
 */
#include "resolve.h"

#include <copper/blocking.h>
#include <copper/go.h>
#include <copper/net.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "fd.h"
#include "schedule.h"

struct question {
    const char *node, *service;
    const struct addrinfo *hints;
    struct addrinfo *answer;
    int error;
};

static int to_errno(int error, int system_error)
{
    switch (error) {
    case 0:
        return 0;
    case EAI_AGAIN:
        return -EAGAIN;
    case EAI_FAIL:
        return -EIO;
    case EAI_NONAME:
    case EAI_NODATA:
    case EAI_ADDRFAMILY:
        return -ENOENT;
    case EAI_MEMORY:
        return -ENOMEM;
    case EAI_OVERFLOW:
        return -ENAMETOOLONG;
    case EAI_SYSTEM:
        return system_error ? -system_error : -EIO;
    default:
        return -EINVAL; /* EAI_BADFLAGS, _FAMILY, _SERVICE, _SOCKTYPE */
    }
}

static void ask(void *arg)
{
    struct question *q = arg;
    q->answer = NULL;
    q->error = getaddrinfo(q->node, q->service, q->hints, &q->answer);
    q->error = to_errno(q->error, errno);
}

int cu_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                   struct addrinfo **result)
{
    struct question q = {.node = node, .service = service, .hints = hints};
    cu_blocking(ask, &q);
    *result = q.answer;
    return q.error;
}

/* A question whose asker may give up. */
struct lookup {
    struct cu__lock lock;
    struct cu__waiters waiters; /* lock */
    uint32_t references;        /* any: atomic */
    bool is_done;               /* lock */
    struct question question;
    struct addrinfo hints;
    char service[NI_MAXSERV];
    char node[NI_MAXHOST];
};

static void drop(struct lookup *l)
{
    if (sub_seq(&l->references, 1) == 1) {
        if (l->question.answer) {
            freeaddrinfo(l->question.answer);
        }
        free(l);
    }
}

static void look_up(void *arg)
{
    struct lookup *l = arg;
    cu_blocking(ask, &l->question);
    cu__lock_take(&l->lock);
    l->is_done = true;
    struct cu__waiter *w = cu__waiters_pop(&l->waiters);
    cu__lock_drop(&l->lock);
    if (w) {
        cu__wake(w);
    }
    drop(l);
}

static int await_answer(struct lookup *l, const struct cu__until *until, struct addrinfo **result)
{
    int error = 0;
    cu__lock_take(&l->lock);
    if (l->is_done) {
        cu__lock_drop(&l->lock);
    } else {
        struct cu__waiter thread_one, *self = cu__waiter_init(&thread_one, NULL);
        struct cu__wait why = {.reason = COPPER_WAIT_SYSCALL, .deadline_ns = until->deadline_ns};
        cu__waiters_add(&l->waiters, self);
        error = cu__wait_ctx(self, &why, &l->lock, &l->waiters, until->ctx);
    }
    if (error == 0) {
        error = l->question.error;
        *result = l->question.answer;
        l->question.answer = NULL;
    }
    return error;
}

static int resolve_until(const char *node, const char *service, const struct addrinfo *hints,
                         const struct cu__until *until, struct addrinfo **result)
{
    struct lookup *l = calloc(1, sizeof(*l));
    if (l == NULL) {
        return -ENOMEM;
    }
    if (strlen(node) >= sizeof(l->node) || strlen(service) >= sizeof(l->service)) {
        free(l);
        return -ENAMETOOLONG;
    }
    memcpy(l->node, node, strlen(node));
    memcpy(l->service, service, strlen(service));
    l->hints = *hints;
    l->question = (struct question){.node = l->node, .service = l->service, .hints = &l->hints};
    l->references = 2;
    struct cu_go_options options = {COPPER_GO_OPTIONS, .name = "resolver", .daemon = true,
                                    .site = COPPER_SITE()};
    cu_id id = cu_go_with(look_up, l, &options);
    if (id < 0) {
        free(l);
        return (int)id;
    }
    int error = await_answer(l, until, result);
    drop(l);
    return error;
}

int cu__resolve(const char *node, const char *service, const struct addrinfo *hints,
                const struct cu__until *until, struct addrinfo **result)
{
    struct addrinfo numeric = *hints;
    struct question q = {.node = node, .service = service, .hints = &numeric};
    *result = NULL;
    numeric.ai_flags |= AI_NUMERICHOST;
    ask(&q);
    if (q.error != -ENOENT || node == NULL) {
        *result = q.answer;
        return q.error;
    }
    return until->deadline_ns || until->ctx ? resolve_until(node, service, hints, until, result)
                                            : cu_getaddrinfo(node, service, hints, result);
}
