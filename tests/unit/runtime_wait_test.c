/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: waits that end early, and whose object is gone by the time the waiter goes on. With a
 * single P that stays where it is, nobody goes on before the caller parks.
 */
#include <copper/chan.h>
#include <copper/context.h>
#include <copper/go.h>
#include <copper/sync.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coroutine_body.h"

struct wait {
    int (*in)(cu_ctx *ctx, cu_chan *c);
    cu_ctx *ctx;
    cu_chan *c;
    int result;
};

static void wait_in_it(void *arg)
{
    struct wait *wait = arg;
    wait->result = wait->in(wait->ctx, wait->c);
}

static int receive(cu_ctx *ctx, cu_chan *c)
{
    int value;
    return cu_recv_ctx(ctx, c, &value);
}

static int send(cu_ctx *ctx, cu_chan *c)
{
    return cu_send_ctx(ctx, c, &(int){1});
}

/* Cancels a wait for a channel, and drops the channel before the waiter can go on. */
static bool leaves_what_is_gone(int (*in)(cu_ctx *, cu_chan *))
{
    cu_wg wg = {0};
    struct wait wait = {in, cu_ctx_with_cancel(NULL), cu_chan_new(sizeof(int), 0), 0};
    cu_wg_go(&wg, wait_in_it, &wait);
    cu_yield();
    cu_ctx_cancel(wait.ctx);
    cu_chan_unref(wait.c);
    void *heir = malloc(256); /* perhaps where the channel was: to be left as it is */
    memset(heir, 0x5a, 256);
    cu_wg_wait(&wg);
    bool is_whole = true;
    for (int i = 0; i < 256; i++) {
        is_whole = is_whole && ((char *)heir)[i] == 0x5a;
    }
    free(heir);
    cu_ctx_end(wait.ctx);
    return is_whole && wait.result == -ECANCELED;
}

COROUTINE_TEST(receiver_leaves_a_channel_that_is_gone)
{
    expect(leaves_what_is_gone(receive));
    return 0;
}

COROUTINE_TEST(sender_leaves_a_channel_that_is_gone)
{
    expect(leaves_what_is_gone(send));
    return 0;
}

/* The channel stays: a record that lost must be out of it. */
COROUTINE_TEST(who_left_is_in_no_list)
{
    cu_wg wg = {0};
    struct wait wait = {receive, cu_ctx_with_cancel(NULL), cu_chan_new(sizeof(int), 0), 0};
    cu_wg_go(&wg, wait_in_it, &wait);
    cu_yield();
    cu_ctx_cancel(wait.ctx);
    cu_wg_wait(&wg);
    expect(wait.result == -ECANCELED);
    expect(cu_try_send(wait.c, &(int){1}) == -EAGAIN);
    cu_chan_unref(wait.c);
    cu_ctx_end(wait.ctx);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(receiver_leaves_a_channel_that_is_gone),
        cmocka_unit_test(sender_leaves_a_channel_that_is_gone),
        cmocka_unit_test(who_left_is_in_no_list),
    };
    setenv("COPPER_MAXPROCS", "1", 1);
    setenv("COPPER_HANDOFF", "0", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
