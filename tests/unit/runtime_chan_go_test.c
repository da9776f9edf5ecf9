/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what Go's own tests expect of channels and select, where the other tests here do not
 * ask it yet.
 *
 *     runtime/chan_test.go               here, or in runtime_chan_test.c (c), _select_test.c (s)
 *       TestChan                         blocks_and_does_not, close_cases, all_arrive_in_order,
 *                                        many_producers_and_consumers; c: buffered_keeps_order, ...
 *       TestNonblockRecvRace             closed_channel_is_always_ready
 *       TestNonblockSelectRace, ...2     one_is_always_ready
 *       TestSelfSelect                   s: both_directions_of_one_channel
 *       TestSelectStress                 four_channels_all_ways
 *       TestSelectFairness               s: fair_between_ready_cases
 *       TestPseudoRandomSend             same_channel_either_value
 *       TestMultiConsumer                work_and_results
 *       TestSelectDuplicateChannel       s: one_channel_twice
 *       TestShrinkStack..., TestSelectStackAdjust, write barriers: no stack here is moved
 *     test/chan
 *       doubleselect.go                  case_happens_once
 *       fifo.go                          all_arrive_in_order, chain_keeps_order
 *       goroutines.go                    long_chain
 *       nonblock.go                      blocks_and_does_not
 *       select.go                        nil_switches_a_case_off
 *       select2.go                       selects_leave_no_memory
 *       select3.go                       blocks_and_does_not, close_cases, c: edges
 *       select6.go                       left_from_the_middle
 *       select7.go                       ready_partner_of_each_kind
 *       sieve1.go, sieve2.go             sieve
 *       zerosize.go                      c: values_of_any_size
 *     The rest of test/chan is about the language.
 */
#include <copper/chan.h>
#include <copper/inspect.h>
#include <copper/select.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdlib.h>

#include "coroutine_body.h"

static cu_chan *new_chan(size_t cap)
{
    cu_chan *c = cu_chan_new(sizeof(int), cap);
    if (c == NULL) {
        abort();
    }
    return c;
}

static void settle(void)
{
    cu_quiesce(0, 60 * COPPER_SEC);
}

struct call {
    cu_chan *c;
    int value, error;
    bool is_over; /* atomic */
    cu_wg wg;
};

static void receive(void *arg)
{
    struct call *call = arg;
    call->error = cu_recv(call->c, &call->value);
    __atomic_store_n(&call->is_over, true, __ATOMIC_RELEASE);
}

static void send(void *arg)
{
    struct call *call = arg;
    call->error = cu_send(call->c, &call->value);
    __atomic_store_n(&call->is_over, true, __ATOMIC_RELEASE);
}

static void start(struct call *call, void (*fn)(void *), cu_chan *c, int value)
{
    *call = (struct call){.c = c, .value = value, .error = 1};
    cu_wg_go(&call->wg, fn, call);
    settle();
}

static bool is_over(const struct call *call)
{
    return __atomic_load_n(&call->is_over, __ATOMIC_ACQUIRE);
}

/* An empty channel keeps a receiver waiting, a full one a sender; the try forms never wait. */
COROUTINE_TEST(blocks_and_does_not)
{
    for (size_t cap = 0; cap < 5; cap++) {
        struct call call;
        int value = 5;
        cu_chan *c = new_chan(cap);
        start(&call, receive, c, 0);
        expect(!is_over(&call));
        expect(cu_try_recv(c, &value) == -EAGAIN && value == 5);
        expect(cu_send(c, &value) == 0);
        cu_wg_wait(&call.wg);
        expect(call.error == 0 && call.value == 5);
        for (size_t i = 0; i < cap; i++) {
            expect(cu_try_send(c, &value) == 0);
        }
        start(&call, send, c, 6);
        expect(!is_over(&call));
        expect(cu_try_send(c, &value) == -EAGAIN);
        for (size_t i = 0; i < cap; i++) {
            expect(cu_recv(c, &value) == 0 && value == 5);
        }
        expect(cu_recv(c, &value) == 0 && value == 6);
        cu_wg_wait(&call.wg);
        expect(call.error == 0 && cu_try_recv(c, &value) == -EAGAIN);
        cu_chan_unref(c);
    }
    return 0;
}

/* Receivers find a closed channel's rest, then its end; those that wait, too; senders its end. */
COROUTINE_TEST(close_cases)
{
    for (size_t cap = 0; cap < 5; cap++) {
        struct call call, other;
        int value;
        cu_chan *c = new_chan(cap);
        start(&call, receive, c, 7);
        start(&other, receive, c, 7);
        cu_chan_close(c);
        cu_wg_wait(&call.wg);
        cu_wg_wait(&other.wg);
        expect(call.error == -EPIPE && call.value == 0 && other.error == -EPIPE);
        cu_chan_unref(c);

        c = new_chan(cap);
        for (int i = 0; i < (int)cap; i++) {
            expect(cu_send(c, &i) == 0);
        }
        start(&call, send, c, 8);
        cu_chan_close(c);
        cu_wg_wait(&call.wg);
        expect(call.error == -EPIPE);
        for (int i = 0; i < (int)cap; i++) {
            expect(cu_recv(c, &value) == 0 && value == i);
        }
        expect(cu_recv(c, &value) == -EPIPE && value == 0);
        expect(cu_recv(c, &value) == -EPIPE && cu_try_send(c, &value) == -EPIPE);
        cu_chan_unref(c);
    }
    return 0;
}

static void send_hundred(void *c)
{
    for (int i = 0; i < 100; i++) {
        cu_send(c, &i);
    }
}

COROUTINE_TEST(all_arrive_in_order)
{
    for (size_t cap = 0; cap < 20; cap++) {
        cu_chan *c = new_chan(cap);
        cu_wg wg = {0};
        cu_wg_go(&wg, send_hundred, c);
        for (int i = 0, value; i < 100; i++) {
            expect(cu_recv(c, &value) == 0 && value == i);
        }
        cu_wg_wait(&wg);
        cu_chan_unref(c);
    }
    return 0;
}

#define SIDES 4
#define EACH  500

static void send_each(void *c)
{
    for (int i = 0; i < EACH; i++) {
        cu_send(c, &i);
    }
}

struct tally {
    cu_chan *c;
    int seen[EACH]; /* by this consumer */
};

static void receive_share(void *arg)
{
    struct tally *t = arg;
    for (int i = 0, value; i < EACH; i++) {
        if (cu_recv(t->c, &value) == 0 && value >= 0 && value < EACH) {
            t->seen[value]++;
        }
    }
}

COROUTINE_TEST(many_producers_and_consumers)
{
    static struct tally tallies[SIDES];
    for (size_t cap = 0; cap < 12; cap += 3) {
        cu_chan *c = new_chan(cap);
        cu_wg wg = {0};
        for (int i = 0; i < SIDES; i++) {
            tallies[i] = (struct tally){.c = c};
            cu_wg_go(&wg, send_each, c);
            cu_wg_go(&wg, receive_share, &tallies[i]);
        }
        cu_wg_wait(&wg);
        for (int value = 0; value < EACH; value++) {
            int sum = 0;
            for (int i = 0; i < SIDES; i++) {
                sum += tallies[i].seen[value];
            }
            expect(sum == SIDES);
        }
        cu_chan_unref(c);
    }
    return 0;
}

/* ---- select that must not find nothing ---- */

struct race {
    cu_chan *a, *b;
    cu_wg wg;
    int which;
};

static void try_receive(void *arg)
{
    struct race *r = arg;
    cu_case c[] = {cu_on_recv(r->a, NULL)};
    r->which = cu_try_select(c, 1);
}

/* A buffered value, then the end: there is always something to receive. */
COROUTINE_TEST(closed_channel_is_always_ready)
{
    for (int i = 0; i < 1000; i++) {
        struct race r = {.a = new_chan(1)};
        cu_send(r.a, &i);
        cu_wg_go(&r.wg, try_receive, &r);
        cu_chan_close(r.a);
        cu_recv(r.a, NULL);
        cu_wg_wait(&r.wg);
        expect(r.which == 0);
        cu_chan_unref(r.a);
    }
    return 0;
}

static void try_both(void *arg)
{
    struct race *r = arg;
    cu_case c[] = {cu_on_recv(r->a, NULL), cu_on_recv(r->b, NULL)};
    r->which = cu_try_select(c, 2);
}

/* The second becomes ready before the first is emptied. */
COROUTINE_TEST(one_is_always_ready)
{
    for (int i = 0; i < 2000; i++) {
        struct race r = {.a = new_chan(1), .b = new_chan(1)};
        cu_send(r.a, &i);
        cu_wg_go(&r.wg, try_both, &r);
        if (i % 2) {
            cu_send(r.b, &i);
        } else {
            cu_chan_close(r.b);
        }
        cu_try_recv(r.a, NULL);
        cu_wg_wait(&r.wg);
        expect(r.which == 0 || r.which == 1);
        cu_chan_unref(r.a);
        cu_chan_unref(r.b);
    }
    return 0;
}

/* ---- four channels, by plain calls and by select ---- */

#define MANY 1000

static cu_chan *four[4];

static void send_to_one(void *c)
{
    for (int i = 0; i < MANY; i++) {
        cu_send(c, &i);
    }
}

static void receive_from_one(void *c)
{
    for (int i = 0; i < MANY; i++) {
        cu_recv(c, NULL);
    }
}

static void select_on_all(bool sends)
{
    int done[4] = {0}, value = 3;
    cu_case c[4];
    for (int left = 4 * MANY; left > 0; left--) {
        for (int i = 0; i < 4; i++) {
            cu_chan *channel = done[i] < MANY ? four[i] : NULL;
            c[i] = sends ? cu_on_send(channel, &value) : cu_on_recv(channel, &value);
        }
        done[cu_select(c, 4)]++;
    }
}

static void send_to_all(void *unused)
{
    (void)unused;
    select_on_all(true);
}

static void receive_from_all(void *unused)
{
    (void)unused;
    select_on_all(false);
}

COROUTINE_TEST(four_channels_all_ways)
{
    static const size_t caps[] = {0, 0, 2, 3};
    cu_wg wg = {0};
    for (int i = 0; i < 4; i++) {
        four[i] = new_chan(caps[i]);
        cu_wg_go(&wg, send_to_one, four[i]);
        cu_wg_go(&wg, receive_from_one, four[i]);
    }
    cu_wg_go(&wg, send_to_all, NULL);
    cu_wg_go(&wg, receive_from_all, NULL);
    cu_wg_wait(&wg);
    for (int i = 0; i < 4; i++) {
        expect(cu_chan_len(four[i]) == 0);
        cu_chan_unref(four[i]);
    }
    return 0;
}

static void send_either(void *c)
{
    static const int bits[] = {0, 1};
    for (int i = 0; i < 400; i++) {
        cu_case cases[] = {cu_on_send(c, &bits[0]), cu_on_send(c, &bits[1])};
        cu_select(cases, 2);
    }
}

COROUTINE_TEST(same_channel_either_value)
{
    for (size_t cap = 0; cap <= 128; cap += 128) {
        cu_chan *c = new_chan(cap);
        cu_wg wg = {0};
        int ones = 0;
        cu_wg_go(&wg, send_either, c);
        for (int i = 0, value; i < 400; i++) {
            expect(cu_recv(c, &value) == 0);
            ones += value;
        }
        cu_wg_wait(&wg);
        expect(ones > 40 && ones < 360);
        cu_chan_unref(c);
    }
    return 0;
}

/* ---- one feeds, many work, one sums ---- */

static struct {
    cu_chan *questions, *answers;
    cu_wg workers;
} q;

static void answer(void *unused)
{
    int n;
    (void)unused;
    while (cu_recv(q.questions, &n) == 0) {
        if (n % 7 == 0) {
            cu_yield(); /* mixes them up */
        }
        cu_send(q.answers, &n);
    }
}

static void ask(void *count)
{
    for (int i = 0; i < *(int *)count; i++) {
        cu_send(q.questions, &i);
    }
    cu_chan_close(q.questions);
    cu_wg_wait(&q.workers);
    cu_chan_close(q.answers);
}

COROUTINE_TEST(work_and_results)
{
    int count = 5000, value;
    int64_t sum = 0;
    q.questions = new_chan(69);
    q.answers = new_chan(69);
    for (int i = 0; i < 23; i++) {
        cu_wg_go(&q.workers, answer, NULL);
    }
    cu_go(ask, &count);
    while (cu_recv(q.answers, &value) == 0) {
        sum += value;
    }
    expect(sum == (int64_t)count * (count - 1) / 2);
    cu_chan_unref(q.questions);
    cu_chan_unref(q.answers);
    return 0;
}

/* ---- each value by one case of four ---- */

static void select_sends(void *unused)
{
    (void)unused;
    for (int i = 0; i < 2000; i++) {
        cu_case c[4];
        for (int k = 0; k < 4; k++) {
            c[k] = cu_on_send(four[k], &i);
        }
        cu_select(c, 4);
    }
    for (int k = 0; k < 4; k++) {
        cu_chan_close(four[k]);
    }
}

static void pass_on(void *index)
{
    int value;
    while (cu_recv(four[(intptr_t)index], &value) == 0) {
        cu_send(q.answers, &value);
    }
}

static void close_when_done(void *unused)
{
    (void)unused;
    cu_wg_wait(&q.workers);
    cu_chan_close(q.answers);
}

COROUTINE_TEST(case_happens_once)
{
    static uint8_t seen[2000];
    int value, count = 0;
    q.answers = new_chan(0);
    for (intptr_t i = 0; i < 4; i++) {
        four[i] = new_chan(0);
        cu_wg_go(&q.workers, pass_on, (void *)i);
    }
    cu_go(select_sends, NULL);
    cu_go(close_when_done, NULL);
    while (cu_recv(q.answers, &value) == 0) {
        expect(value >= 0 && value < 2000 && seen[value]++ == 0);
        count++;
    }
    expect(count == 2000);
    for (int i = 0; i < 4; i++) {
        cu_chan_unref(four[i]);
    }
    cu_chan_unref(q.answers);
    return 0;
}

/* ---- chains ---- */

struct link {
    cu_chan *in, *out;
    int number;
};

static void add_one(void *arg)
{
    struct link *l = arg;
    int value;
    if (cu_recv(l->in, &value) == 0) {
        value++;
        cu_send(l->out, &value);
    }
}

COROUTINE_TEST(long_chain)
{
    enum { LINKS = 1000 };
    static struct link links[LINKS];
    cu_wg wg = {0};
    int value = 0;
    cu_chan *first = new_chan(0), *last = first;
    for (int i = 0; i < LINKS; i++) {
        links[i] = (struct link){.in = last, .out = new_chan(0)};
        last = links[i].out;
        expect(cu_wg_go(&wg, add_one, &links[i]) > 0);
    }
    expect(cu_send(first, &value) == 0);
    expect(cu_recv(last, &value) == 0 && value == LINKS);
    cu_wg_wait(&wg);
    for (int i = 0; i < LINKS; i++) {
        cu_chan_unref(links[i].in);
    }
    cu_chan_unref(last);
    return 0;
}

/* Each waits for its turn from the one before: the order of the values is that of the links. */
static void send_in_turn(void *arg)
{
    struct link *l = arg;
    cu_recv(l->in, NULL);
    cu_send(q.answers, &l->number);
    cu_send(l->out, &l->number);
}

COROUTINE_TEST(chain_keeps_order)
{
    enum { LINKS = 10 };
    struct link links[LINKS];
    cu_wg wg = {0};
    cu_chan *first = new_chan(1), *last = first;
    q.answers = new_chan(LINKS);
    for (int i = 0; i < LINKS; i++) {
        links[i] = (struct link){last, new_chan(1), i};
        last = links[i].out;
        cu_wg_go(&wg, send_in_turn, &links[i]);
    }
    cu_send(first, &wg);
    cu_wg_wait(&wg);
    for (int i = 0, value; i < LINKS; i++) {
        expect(cu_recv(q.answers, &value) == 0 && value == i);
        cu_chan_unref(links[i].in);
    }
    cu_chan_unref(last);
    cu_chan_unref(q.answers);
    return 0;
}

static void generate(void *out)
{
    for (int i = 2;; i++) {
        if (cu_send(out, &i)) {
            return;
        }
    }
}

static void filter(void *arg)
{
    struct link *l = arg;
    int value;
    while (cu_recv(l->in, &value) == 0) {
        if (value % l->number && cu_send(l->out, &value)) {
            break;
        }
    }
    cu_chan_close(l->in);
}

COROUTINE_TEST(sieve)
{
    static const int primes[] = {2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59};
    enum { PRIMES = sizeof(primes) / sizeof(primes[0]) };
    static struct link links[PRIMES];
    cu_wg wg = {0};
    cu_chan *c = new_chan(0);
    cu_wg_go(&wg, generate, c);
    for (int i = 0; i < PRIMES; i++) {
        expect(cu_recv(c, &links[i].number) == 0 && links[i].number == primes[i]);
        links[i].in = c;
        links[i].out = c = new_chan(0);
        cu_wg_go(&wg, filter, &links[i]);
    }
    cu_chan_close(c); /* and so on, upstream */
    cu_wg_wait(&wg);
    for (int i = 0; i < PRIMES; i++) {
        cu_chan_unref(links[i].in);
    }
    cu_chan_unref(c);
    return 0;
}

/* ---- the rest of select ---- */

static void count_bits(void *arg)
{
    struct race *r = arg;
    cu_chan *a = r->a, *b = r->b;
    for (int i = 0; a || b; i++) {
        cu_case c[] = {cu_on_send(a, &i), cu_on_send(b, &i)};
        if (cu_select(c, 2) == 0) {
            a = NULL;
        } else {
            b = NULL;
        }
    }
}

COROUTINE_TEST(nil_switches_a_case_off)
{
    struct race r = {.a = new_chan(0), .b = new_chan(0)};
    int sum = 0, value;
    cu_wg_go(&r.wg, count_bits, &r);
    for (int i = 0; i < 2; i++) { /* once each, or the sender would wait for ever */
        cu_case c[] = {cu_on_recv(r.a, &value), cu_on_recv(r.b, &value)};
        cu_select(c, 2);
        sum += value;
    }
    cu_wg_wait(&r.wg);
    expect(sum == 1);
    cu_chan_unref(r.a);
    cu_chan_unref(r.b);
    return 0;
}

static void feed(void *arg)
{
    struct race *r = arg;
    for (int i = 0; i < 20000; i++) {
        cu_send(r->a, &i);
    }
}

/* Selects that win by one case over and over leave nothing behind in the other's list. */
COROUTINE_TEST(selects_leave_no_memory)
{
    struct race r = {.a = new_chan(0), .b = new_chan(0)};
    size_t before = 0;
    cu_wg_go(&r.wg, feed, &r);
    for (int i = 0; i < 20000; i++) {
        cu_case c[] = {cu_on_recv(r.a, NULL), cu_on_recv(r.b, NULL)};
        expect(cu_select(c, 2) == 0);
        before = i == 1000 ? mallinfo2().uordblks : before;
    }
    expect(mallinfo2().uordblks < before + 100000);
    cu_wg_wait(&r.wg);
    cu_chan_unref(r.a);
    cu_chan_unref(r.b);
    return 0;
}

static void select_or_stop(void *arg)
{
    struct race *r = arg;
    cu_case c[] = {cu_on_recv(r->a, NULL), cu_on_recv(r->b, NULL)};
    r->which = cu_select(c, 2);
}

/* A select in the middle of a list goes, by its other channel; those around it are still served. */
COROUTINE_TEST(left_from_the_middle)
{
    struct call first, last;
    struct race r = {.a = new_chan(0), .b = new_chan(0)};
    int value = 1;
    start(&first, receive, r.a, 0);
    cu_wg_go(&r.wg, select_or_stop, &r);
    settle();
    start(&last, receive, r.a, 0);
    expect(cu_send(r.b, &value) == 0);
    cu_wg_wait(&r.wg);
    expect(r.which == 1);
    expect(cu_send(r.a, &value) == 0);
    cu_wg_wait(&first.wg);
    value = 2;
    expect(cu_send(r.a, &value) == 0);
    cu_wg_wait(&last.wg);
    expect(first.value == 1 && last.value == 2);
    expect(cu_try_send(r.a, &value) == -EAGAIN);
    cu_chan_unref(r.a);
    cu_chan_unref(r.b);
    return 0;
}

static void select_send(void *arg)
{
    struct call *call = arg;
    cu_case c[] = {cu_on_send(call->c, &call->value), cu_on_recv(NULL, NULL)};
    call->error = cu_select(c, 2);
}

static void select_receive(void *arg)
{
    struct call *call = arg;
    cu_case c[] = {cu_on_recv(NULL, NULL), cu_on_recv(call->c, &call->value)};
    call->error = cu_select(c, 2) - 1;
}

/* Sender and receiver, each by a plain call, or by a select, or by one that tries when the other
 * waits already. */
COROUTINE_TEST(ready_partner_of_each_kind)
{
    static void (*const senders[])(void *) = {send, select_send};
    static void (*const receivers[])(void *) = {receive, select_receive};
    for (int i = 0; i < 8; i++) {
        struct call sender, receiver;
        cu_chan *c = new_chan(0);
        bool is_sender_first = i & 4;
        start(is_sender_first ? &sender : &receiver,
              is_sender_first ? senders[i & 1] : receivers[i >> 1 & 1], c, is_sender_first ? 9 : 0);
        start(is_sender_first ? &receiver : &sender,
              is_sender_first ? receivers[i >> 1 & 1] : senders[i & 1], c, is_sender_first ? 0 : 9);
        cu_wg_wait(&sender.wg);
        cu_wg_wait(&receiver.wg);
        expect(sender.error == 0 && receiver.error == 0 && receiver.value == 9);

        start(&sender, senders[i & 1], c, 8);
        cu_case try_one[] = {cu_on_recv(c, &receiver.value)};
        expect(cu_try_select(try_one, 1) == 0 && receiver.value == 8);
        cu_wg_wait(&sender.wg);
        cu_chan_unref(c);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_and_does_not),
        cmocka_unit_test(close_cases),
        cmocka_unit_test(all_arrive_in_order),
        cmocka_unit_test(many_producers_and_consumers),
        cmocka_unit_test(closed_channel_is_always_ready),
        cmocka_unit_test(one_is_always_ready),
        cmocka_unit_test(four_channels_all_ways),
        cmocka_unit_test(same_channel_either_value),
        cmocka_unit_test(work_and_results),
        cmocka_unit_test(case_happens_once),
        cmocka_unit_test(long_chain),
        cmocka_unit_test(chain_keeps_order),
        cmocka_unit_test(sieve),
        cmocka_unit_test(nil_switches_a_case_off),
        cmocka_unit_test(selects_leave_no_memory),
        cmocka_unit_test(left_from_the_middle),
        cmocka_unit_test(ready_partner_of_each_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
