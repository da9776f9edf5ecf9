/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: dialling by name while the name server does not answer. The resolver is this program's
 * own: it takes as long as the test wants.
 */
#include <copper/context.h>
#include <copper/inspect.h>
#include <copper/net.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>
#include <semaphore.h>
#include <string.h>

#include "coroutine_body.h"

static sem_t may_answer;
static int questions; /* atomic; that were put */

__attribute__((visibility("default"))) int getaddrinfo(const char *restrict node,
                                                       const char *restrict service,
                                                       const struct addrinfo *restrict hints,
                                                       struct addrinfo **restrict answer)
{
    (void)node, (void)service, (void)answer;
    if (hints->ai_flags & AI_NUMERICHOST) {
        return EAI_NONAME;
    }
    __atomic_fetch_add(&questions, 1, __ATOMIC_RELAXED);
    while (sem_wait(&may_answer)) {
    }
    return EAI_AGAIN;
}

static void cancel_when_asked(void *ctx)
{
    while (__atomic_load_n(&questions, __ATOMIC_RELAXED) == 0) {
        cu_sleep(COPPER_MS);
    }
    cu_ctx_cancel(ctx);
}

/* The answer comes after all, to nobody. */
static bool answers_come_too_late(void)
{
    sem_post(&may_answer);
    return cu_quiesce(0, 30 * COPPER_SEC) == 0;
}

COROUTINE_TEST(cancel_does_not_wait_for_the_resolver)
{
    cu_wg wg = {0};
    cu_ctx *ctx = cu_ctx_with_cancel(NULL);
    questions = 0;
    cu_wg_go(&wg, cancel_when_asked, ctx);
    expect(cu_dial_ctx(ctx, "tcp", "silent.test:80") == -ECANCELED);
    cu_wg_wait(&wg);
    expect(__atomic_load_n(&questions, __ATOMIC_RELAXED) == 1);
    expect(cu_dial_ctx(ctx, "tcp", "silent.test:80") == -ECANCELED);
    cu_ctx_end(ctx);
    expect(answers_come_too_late());
    return 0;
}

COROUTINE_TEST(deadlines_do_not_wait_for_the_resolver)
{
    cu_ctx *ctx = cu_ctx_with_timeout(NULL, 5 * COPPER_MS);
    expect(cu_dial_ctx(ctx, "tcp", "silent.test:80") == -ETIMEDOUT);
    cu_ctx_end(ctx);
    expect(answers_come_too_late());
    expect(cu_dial("tcp", "silent.test:80", 5 * COPPER_MS) == -ETIMEDOUT);
    expect(answers_come_too_late());
    return 0;
}

COROUTINE_TEST(an_answer_in_time)
{
    cu_ctx *ctx = cu_ctx_with_cancel(NULL);
    sem_post(&may_answer);
    expect(cu_dial_ctx(ctx, "tcp", "silent.test:80") == -EAGAIN);
    sem_post(&may_answer);
    expect(cu_dial_ctx(NULL, "tcp", "silent.test:80") == -EAGAIN);
    cu_ctx_end(ctx);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cancel_does_not_wait_for_the_resolver),
        cmocka_unit_test(deadlines_do_not_wait_for_the_resolver),
        cmocka_unit_test(an_answer_in_time),
    };
    sem_init(&may_answer, 0, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
