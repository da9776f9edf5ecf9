/* SPDX-License-Identifier: Apache-2.0 */
#include <copper/inspect.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "coroutine_body.h"

/* All others have come to rest. */
static void settle(void)
{
    cu_quiesce(0, 30 * COPPER_SEC);
}

COROUTINE_TEST(try_forms)
{
    cu_rwmutex rw = {0};
    expect(cu_rwmutex_try_rlock(&rw) && cu_rwmutex_try_rlock(&rw));
    expect(!cu_rwmutex_try_lock(&rw));
    cu_rwmutex_runlock(&rw);
    expect(!cu_rwmutex_try_lock(&rw));
    cu_rwmutex_runlock(&rw);
    expect(cu_rwmutex_try_lock(&rw));
    expect(!cu_rwmutex_try_lock(&rw) && !cu_rwmutex_try_rlock(&rw));
    cu_rwmutex_unlock(&rw);
    expect(cu_rwmutex_try_rlock(&rw));
    cu_rwmutex_runlock(&rw);
    return 0;
}

/* ---- order ---- */

static struct {
    cu_rwmutex rw;
    char log[32];
    uint32_t logged; /* atomic */
} o;

static void note(char c)
{
    o.log[__atomic_fetch_add(&o.logged, 1, __ATOMIC_RELAXED)] = c;
}

static void writer(void *name)
{
    cu_rwmutex_lock(&o.rw);
    note(*(char *)name);
    cu_yield();
    cu_rwmutex_unlock(&o.rw);
}

static void reader(void *name)
{
    cu_rwmutex_rlock(&o.rw);
    note(*(char *)name);
    cu_yield();
    cu_rwmutex_runlock(&o.rw);
}

static void start(cu_wg *wg, void (*fn)(void *), const char *name)
{
    cu_wg_go(wg, fn, (void *)(uintptr_t)name);
    settle();
}

COROUTINE_TEST(waiting_writer_keeps_readers_out)
{
    cu_wg wg = {0};
    memset(&o, 0, sizeof(o));
    cu_rwmutex_rlock(&o.rw);
    start(&wg, writer, "W");
    expect(!cu_rwmutex_try_rlock(&o.rw));
    start(&wg, reader, "r");
    start(&wg, writer, "X");
    start(&wg, reader, "s");
    expect(o.logged == 0);
    cu_rwmutex_runlock(&o.rw);
    cu_wg_wait(&wg);
    /* first the writer, then all readers, then the next writer */
    expect(!strcmp(o.log, "WrsX") || !strcmp(o.log, "WsrX"));
    expect(cu_rwmutex_try_lock(&o.rw));
    cu_rwmutex_unlock(&o.rw);
    return 0;
}

COROUTINE_TEST(writers_let_readers_in)
{
    cu_wg wg = {0};
    memset(&o, 0, sizeof(o));
    cu_rwmutex_lock(&o.rw);
    start(&wg, writer, "W");
    start(&wg, writer, "X");
    start(&wg, reader, "r");
    cu_rwmutex_unlock(&o.rw);
    cu_wg_wait(&wg);
    expect(o.log[0] == 'r' && o.logged == 3);
    return 0;
}

static void read_together(void *all)
{
    cu_rwmutex_rlock(&o.rw);
    cu_wg_done(all);
    cu_wg_wait(all); /* comes back only if all of us hold it at once */
    cu_rwmutex_runlock(&o.rw);
}

COROUTINE_TEST(readers_share)
{
    cu_wg all = {0}, wg = {0};
    memset(&o, 0, sizeof(o));
    cu_rwmutex_lock(&o.rw);
    cu_wg_add(&all, 10);
    for (int i = 0; i < 10; i++) {
        cu_wg_go(&wg, read_together, &all);
    }
    settle();
    cu_rwmutex_unlock(&o.rw);
    cu_wg_wait(&wg);
    return 0;
}

/* A writer that locks again at once does not keep others from it. */
COROUTINE_TEST(nobody_starves)
{
    cu_wg wg = {0};
    memset(&o, 0, sizeof(o));
    cu_rwmutex_lock(&o.rw);
    start(&wg, writer, "W");
    for (int i = 0; i < 5; i++) {
        cu_sleep(2 * COPPER_MS);
        cu_rwmutex_unlock(&o.rw);
        cu_rwmutex_lock(&o.rw);
    }
    expect(o.logged == 1);
    cu_rwmutex_unlock(&o.rw);
    cu_wg_wait(&wg);
    return 0;
}

/* ---- what tools see ---- */

struct look {
    enum cu_wait_reason reason;
    struct cu_object_info found;
};

static bool look_for(const struct cu_g_info *g, void *arg)
{
    struct look *look = arg;
    if (g->state == COPPER_G_WAITING && g->reason == look->reason) {
        look->found = g->object;
    }
    return true;
}

COROUTINE_TEST(holders_are_named)
{
    cu_wg wg = {0};
    memset(&o, 0, sizeof(o));
    cu_rwmutex_lock(&o.rw);
    start(&wg, reader, "r");
    struct look look = {.reason = COPPER_WAIT_RWMUTEX_RLOCK};
    cu_inspect_each(look_for, &look);
    expect(look.found.kind == COPPER_OBJECT_RWMUTEX && look.found.address == &o.rw);
    expect(look.found.owner == cu_self() && look.found.count == 0);
    cu_rwmutex_unlock(&o.rw);
    cu_wg_wait(&wg);
    cu_rwmutex_rlock(&o.rw);
    cu_rwmutex_rlock(&o.rw);
    start(&wg, writer, "W");
    look = (struct look){.reason = COPPER_WAIT_RWMUTEX_LOCK};
    cu_inspect_each(look_for, &look);
    expect(look.found.kind == COPPER_OBJECT_RWMUTEX && look.found.owner == 0);
    expect(look.found.count == 2);
    cu_rwmutex_runlock(&o.rw);
    cu_rwmutex_runlock(&o.rw);
    cu_wg_wait(&wg);
    return 0;
}

static int64_t blamed_ns, contended_ns; /* atomic */

static void released(void *tool, int64_t now, cu_id g, const void *object, int64_t waited_ns)
{
    (void)tool, (void)now, (void)g;
    if (object == &o.rw) {
        __atomic_fetch_add(&blamed_ns, waited_ns, __ATOMIC_RELAXED);
    }
}

static void contended(void *tool, int64_t now, cu_id g, const void *object, int64_t waited_ns)
{
    (void)tool, (void)now, (void)g;
    if (object == &o.rw) {
        __atomic_fetch_add(&contended_ns, waited_ns, __ATOMIC_RELAXED);
    }
}

/* What holders are blamed for is what the others waited. */
COROUTINE_TEST(blame_is_what_was_waited)
{
    static const struct cu_hooks hooks = {.version = COPPER_HOOKS_VERSION,
                                          .size = sizeof(hooks),
                                          .released = released,
                                          .contended = contended};
    cu_wg wg = {0};
    memset(&o, 0, sizeof(o));
    expect(cu_hooks_attach(&hooks, NULL) == 0);
    cu_rwmutex_lock(&o.rw);
    start(&wg, reader, "r");
    start(&wg, reader, "s");
    start(&wg, writer, "W");
    cu_sleep(5 * COPPER_MS);
    cu_rwmutex_unlock(&o.rw);
    cu_wg_wait(&wg);
    expect(cu_hooks_detach(&hooks, NULL) == 0);
    int64_t blamed = __atomic_load_n(&blamed_ns, __ATOMIC_RELAXED);
    int64_t waited = __atomic_load_n(&contended_ns, __ATOMIC_RELAXED);
    /* three have waited for 5 ms each; the waiters' clocks stop later, when they run */
    expect(blamed >= 15 * COPPER_MS && blamed <= waited);
    return 0;
}

/* ---- hammer, as Go's ---- */

#define ITERATIONS 3000

static struct {
    cu_rwmutex rw;
    int32_t activity; /* atomic: readers 1, writers 10000 each */
    int wrong;        /* atomic */
} h;

static void expect_activity(bool is_good)
{
    if (!is_good) {
        __atomic_fetch_add(&h.wrong, 1, __ATOMIC_RELAXED);
    }
}

static void hammer_read(void *unused)
{
    (void)unused;
    for (int i = 0; i < ITERATIONS; i++) {
        if (i % 5 || !cu_rwmutex_try_rlock(&h.rw)) {
            cu_rwmutex_rlock(&h.rw);
        }
        int32_t n = __atomic_add_fetch(&h.activity, 1, __ATOMIC_RELAXED);
        expect_activity(n >= 1 && n < 10000);
        if (i % 40 == 0) {
            cu_yield();
        }
        __atomic_fetch_sub(&h.activity, 1, __ATOMIC_RELAXED);
        cu_rwmutex_runlock(&h.rw);
    }
}

static void hammer_write(void *unused)
{
    (void)unused;
    for (int i = 0; i < ITERATIONS; i++) {
        if (i % 5 || !cu_rwmutex_try_lock(&h.rw)) {
            cu_rwmutex_lock(&h.rw);
        }
        expect_activity(__atomic_add_fetch(&h.activity, 10000, __ATOMIC_RELAXED) == 10000);
        if (i % 40 == 0) {
            cu_yield();
        }
        __atomic_fetch_sub(&h.activity, 10000, __ATOMIC_RELAXED);
        cu_rwmutex_unlock(&h.rw);
    }
}

static void *hammer_thread(void *is_writer)
{
    (is_writer ? hammer_write : hammer_read)(NULL);
    return NULL;
}

static void hammer(void **state)
{
    (void)state;
    for (int readers = 1; readers <= 9; readers += 4) {
        pthread_t threads[2];
        cu_wg wg = {0};
        for (int i = 0; i < readers; i++) {
            cu_wg_go(&wg, hammer_read, NULL);
        }
        cu_wg_go(&wg, hammer_write, NULL);
        cu_wg_go(&wg, hammer_write, NULL);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(pthread_create(&threads[i], NULL, hammer_thread, (void *)(intptr_t)i),
                             0);
        }
        cu_wg_wait(&wg);
        pthread_join(threads[0], NULL);
        pthread_join(threads[1], NULL);
        assert_int_equal(h.wrong, 0);
        assert_int_equal(h.activity, 0);
        assert_true(cu_rwmutex_try_lock(&h.rw));
        cu_rwmutex_unlock(&h.rw);
    }
}

/* ---- a writer comes after all readers, not just after the last ---- */

static struct {
    cu_rwmutex rw;
    int inside, left; /* atomic, relaxed: they order nothing */
    int seen;         /* guarded by rw, as nobody else reads it */
} a;

static void await(const int *word, int count)
{
    while (__atomic_load_n(word, __ATOMIC_RELAXED) < count) {
        usleep(100);
    }
}

static void *leave_first(void *unused)
{
    cu_rwmutex_rlock(&a.rw);
    __atomic_fetch_add(&a.inside, 1, __ATOMIC_RELAXED);
    while (cu_rwmutex_try_rlock(&a.rw)) { /* until a writer waits */
        cu_rwmutex_runlock(&a.rw);
        usleep(100);
    }
    a.seen = 1;
    cu_rwmutex_runlock(&a.rw);
    __atomic_fetch_add(&a.left, 1, __ATOMIC_RELAXED);
    return unused;
}

static void *leave_last(void *unused)
{
    cu_rwmutex_rlock(&a.rw);
    __atomic_fetch_add(&a.inside, 1, __ATOMIC_RELAXED);
    await(&a.left, 1);
    cu_rwmutex_runlock(&a.rw);
    return unused;
}

static void writers_come_after_every_reader(void **state)
{
    pthread_t first, last;
    (void)state;
    assert_int_equal(pthread_create(&first, NULL, leave_first, NULL), 0);
    assert_int_equal(pthread_create(&last, NULL, leave_last, NULL), 0);
    await(&a.inside, 2);
    cu_rwmutex_lock(&a.rw);
    assert_int_equal(a.seen, 1);
    cu_rwmutex_unlock(&a.rw);
    pthread_join(first, NULL);
    pthread_join(last, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(try_forms),
        cmocka_unit_test(waiting_writer_keeps_readers_out),
        cmocka_unit_test(writers_let_readers_in),
        cmocka_unit_test(readers_share),
        cmocka_unit_test(nobody_starves),
        cmocka_unit_test(holders_are_named),
        cmocka_unit_test(blame_is_what_was_waited),
        cmocka_unit_test(hammer),
        cmocka_unit_test(writers_come_after_every_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
