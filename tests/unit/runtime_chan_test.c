/* SPDX-License-Identifier: Apache-2.0 */
#include <copper/chan.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>
#include <string.h>

#include "coroutine_body.h"

COROUTINE_TEST(buffered_keeps_order)
{
    cu_chan *c = cu_chan_new(sizeof(int), 3);
    int value = 0;
    expect(c != NULL && cu_chan_cap(c) == 3);
    for (int round = 0; round < 5; round++) { /* the ring wraps */
        for (int i = 0; i < 3; i++) {
            value = round * 10 + i;
            expect(cu_try_send(c, &value) == 0);
        }
        expect(cu_try_send(c, &value) == -EAGAIN && cu_chan_len(c) == 3);
        for (int i = 0; i < 3; i++) {
            expect(cu_recv(c, &value) == 0 && value == round * 10 + i);
        }
        expect(cu_try_recv(c, &value) == -EAGAIN && cu_chan_len(c) == 0);
    }
    cu_chan_unref(c);
    return 0;
}

COROUTINE_TEST(close_drains_then_says_so)
{
    cu_chan *c = cu_chan_new(sizeof(int), 2);
    int value = 5;
    cu_send(c, &value);
    cu_chan_close(c);
    expect(cu_send(c, &value) == -EPIPE && cu_try_send(c, &value) == -EPIPE);
    value = 0;
    expect(cu_recv(c, &value) == 0 && value == 5);
    expect(cu_recv(c, &value) == -EPIPE && value == 0);
    value = 7;
    expect(cu_try_recv(c, &value) == -EPIPE && value == 0);
    expect(cu_recv(c, NULL) == -EPIPE);
    cu_chan_unref(c);
    return 0;
}

struct line {
    cu_chan *c;
    cu_wg wg;
};

static struct line line;

static void queue_up(void *number)
{
    int value = (int)(intptr_t)number;
    cu_send(line.c, &value);
}

/* Senders are served in order of arrival, and what is full is refilled by the first of them. */
COROUTINE_TEST(waiters_are_served_in_order)
{
    line.c = cu_chan_new(sizeof(int), 1);
    for (intptr_t i = 0; i < 5; i++) {
        cu_wg_go(&line.wg, queue_up, (void *)i);
        cu_sleep(2 * COPPER_MS);
    }
    for (int i = 0, value; i < 5; i++) {
        expect(cu_recv(line.c, &value) == 0 && value == i);
    }
    cu_wg_wait(&line.wg);
    cu_chan_unref(line.c);
    return 0;
}

static void receive_one(void *arg)
{
    int *out = arg;
    *out = cu_recv(line.c, out + 1);
}

COROUTINE_TEST(close_wakes_receivers_and_senders)
{
    int got[2] = {1, 1};
    cu_wg wg = {0};
    line.c = cu_chan_new(sizeof(int), 0);
    cu_wg_go(&wg, receive_one, got);
    cu_sleep(2 * COPPER_MS);
    cu_chan_close(line.c);
    cu_wg_wait(&wg);
    expect(got[0] == -EPIPE && got[1] == 0);
    cu_chan_unref(line.c);
    return 0;
}

static void hand_over(void *arg)
{
    char text[100];
    memset(text, (int)(intptr_t)arg, sizeof(text));
    cu_send(line.c, text);
}

COROUTINE_TEST(values_of_any_size)
{
    char text[100];
    line.c = cu_chan_new(sizeof(text), 0);
    cu_go(hand_over, (void *)(intptr_t)'x');
    expect(cu_recv(line.c, text) == 0 && text[0] == 'x' && text[99] == 'x');
    cu_chan_unref(line.c);
    line.c = cu_chan_new(0, 1);
    expect(cu_send(line.c, NULL) == 0 && cu_chan_len(line.c) == 1 && cu_recv(line.c, NULL) == 0);
    cu_chan_unref(line.c);
    return 0;
}

static void edges(void **state)
{
    (void)state;
    assert_null(cu_chan_new(SIZE_MAX / 2, 4));
    assert_null((cu_chan_new)(1, SIZE_MAX));
    assert_int_equal(cu_chan_len(NULL), 0);
    assert_int_equal(cu_chan_cap(NULL), 0);
    assert_int_equal(cu_try_send(NULL, NULL), -EAGAIN);
    assert_int_equal(cu_try_recv(NULL, NULL), -EAGAIN);
    cu_chan *c = cu_chan_new(8, 0);
    assert_ptr_equal(cu_chan_ref(c), c);
    cu_chan_unref(c);
    assert_int_equal(cu_try_recv(c, NULL), -EAGAIN);
    cu_chan_unref(c);
    cu_chan_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffered_keeps_order),
        cmocka_unit_test(close_drains_then_says_so),
        cmocka_unit_test(waiters_are_served_in_order),
        cmocka_unit_test(close_wakes_receivers_and_senders),
        cmocka_unit_test(values_of_any_size),
        cmocka_unit_test(edges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
