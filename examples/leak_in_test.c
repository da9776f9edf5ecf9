/* SPDX-License-Identifier: Apache-2.0
 *
 * A test suite in which one test leaves a coroutine behind: that test fails, and says why.
 *
 *     examples/leak_in_test          exit status 1: one test failed
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <copper/chan.h>
#include <copper/cmocka.h>
#include <copper/sync.h>

static void ask(void *questions)
{
    int question = 42;
    cu_send(questions, &question);
}

/* Asks and listens. */
static void listens(void **state)
{
    (void)state;
    int question;
    cu_chan *questions = cu_chan_new(sizeof question, 0);
    cu_go(ask, questions);
    assert_int_equal(cu_recv(questions, &question), 0);
    assert_int_equal(question, 42);
}

/* Asks and does not listen: the one who asks waits for ever. */
static void gives_up(void **state)
{
    (void)state;
    cu_go(ask, cu_chan_new(sizeof(int), 0));
}

/* Nothing of gives_up is held against the next test. */
static void starts_afresh(void **state)
{
    (void)state;
    cu_wg wg = {0};
    cu_chan *questions = cu_chan_new(sizeof(int), 1);
    cu_wg_go(&wg, ask, questions);
    cu_wg_wait(&wg);
    cu_chan_unref(questions);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cu_cmocka_test(listens),
        cu_cmocka_test(gives_up),
        cu_cmocka_test(starts_afresh),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
