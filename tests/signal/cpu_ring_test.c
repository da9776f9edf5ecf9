/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the ring between a handler and the collector: order, wrap-around, refusal when full, and
 * one writer beside one reader.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "ring.c" /* the library does not show it */

#include <pthread.h>
#include <sched.h>
#include <string.h>

static _Alignas(8) unsigned char bytes[COPPER_RING_BYTES];

/* Writes a record whose content is derived from its number. */
static bool put(struct cu__ring *ring, uint64_t number, unsigned nframes)
{
    size_t room = 0, need = sizeof(struct cu__record) + nframes * sizeof(cu_frame);
    struct cu__record *r = cu__ring_reserve_sig(ring, need, &room);
    if (!r) {
        return false;
    }
    assert_true(room >= need);
    assert_true((unsigned char *)r >= bytes && (unsigned char *)r + need <= bytes + sizeof bytes);
    memset(r, 0, sizeof *r);
    r->kind = COPPER_RECORD_SAMPLE;
    r->time_ns = number;
    r->nframes = nframes;
    for (unsigned i = 0; i < nframes; i++) {
        r->frames[i] = number * 1000 + i;
    }
    r->size = (uint32_t)need;
    cu__ring_commit_sig(ring, r);
    return true;
}

static bool take(struct cu__ring *ring, uint64_t number)
{
    const struct cu__record *r = cu__ring_peek(ring);
    if (!r) {
        return false;
    }
    assert_int_equal(r->kind, COPPER_RECORD_SAMPLE);
    assert_int_equal(r->time_ns, number);
    for (unsigned i = 0; i < r->nframes; i++) {
        assert_int_equal(r->frames[i], number * 1000 + i);
    }
    cu__ring_consume(ring, r);
    return true;
}

static void keeps_order_over_many_turns(void **state)
{
    (void)state;
    struct cu__ring ring = {.bytes = bytes};
    uint64_t put_in = 0, taken = 0;
    unsigned seed = 1;
    while (taken < 100000) {
        seed = seed * 1103515245 + 12345;
        if (seed >> 16 & 1) {
            put_in += put(&ring, put_in, (seed >> 17) % (COPPER_STACK_DEPTH_MAX + 1));
        } else {
            taken += take(&ring, taken);
        }
        assert_true(taken <= put_in);
    }
}

static void refuses_when_full_and_recovers(void **state)
{
    (void)state;
    struct cu__ring ring = {.bytes = bytes};
    uint64_t n = 0;
    while (put(&ring, n, 100)) {
        n++;
    }
    size_t each = sizeof(struct cu__record) + 100 * sizeof(cu_frame);
    assert_true(n >= COPPER_RING_BYTES / each - 1 && n <= COPPER_RING_BYTES / each);
    assert_false(put(&ring, n, 100));
    for (uint64_t i = 0; i < n; i++) {
        assert_true(take(&ring, i));
    }
    assert_false(take(&ring, n));
    assert_true(put(&ring, n, 100));
    assert_true(take(&ring, n));
}

static void drained_ring_stays_in_its_first_pages(void **state)
{
    (void)state;
    struct cu__ring ring = {.bytes = bytes};
    memset(bytes, 0xee, sizeof bytes);
    for (uint64_t i = 0; i < 10000; i++) {
        assert_true(put(&ring, i, 30));
        assert_true(take(&ring, i));
    }
    size_t touched = 0;
    for (size_t i = 0; i < sizeof bytes; i++) {
        touched = bytes[i] == 0xee ? touched : i + 1;
    }
    assert_true(touched <= COPPER_RING_RESTART + 1024);
}

#define THREADED_RECORDS 300000

static void *write_all(void *ring)
{
    for (uint64_t i = 0; i < THREADED_RECORDS;) {
        if (put(ring, i, (unsigned)(i % 50))) {
            i++;
        } else {
            sched_yield();
        }
    }
    return NULL;
}

static void one_writer_beside_one_reader(void **state)
{
    (void)state;
    struct cu__ring ring = {.bytes = bytes};
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, write_all, &ring), 0);
    for (uint64_t i = 0; i < THREADED_RECORDS;) {
        if (take(&ring, i)) {
            i++;
        } else {
            sched_yield();
        }
    }
    pthread_join(writer, NULL);
    assert_null(cu__ring_peek(&ring));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_order_over_many_turns),
        cmocka_unit_test(refuses_when_full_and_recovers),
        cmocka_unit_test(drained_ring_stays_in_its_first_pages),
        cmocka_unit_test(one_writer_beside_one_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
