/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the census of stacks, and that parked coroutines keep no pages they do not use.
 */
#include <copper/copper.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define DEEP_BYTES (100 * 1024)
#define PAGE_BYTES 4096u

static cu_chan *gate;

__attribute__((noinline)) static void touch_deeply(void)
{
    volatile char room[DEEP_BYTES];
    for (size_t i = 0; i < sizeof(room); i += 512) {
        room[i] = 1;
    }
}

static void deep(void *unused)
{
    (void)unused;
    touch_deeply();
}

static void shallow(void *unused)
{
    (void)unused;
}

static void small(void *unused)
{
    (void)unused;
    touch_deeply();
}

static int use_stacks(void *unused)
{
    (void)unused;
    cu_wg wg = {0};
    struct cu_go_options options = {COPPER_GO_OPTIONS, .stack_size = 128 * 1024};
    for (int i = 0; i < 50; i++) { /* on the same few stacks in turn */
        cu_wg_go(&wg, deep, NULL);
        cu_wg_wait(&wg);
        cu_wg_go(&wg, shallow, NULL);
        cu_wg_wait(&wg);
    }
    cu_go_with(small, NULL, &options);
    return cu_quiesce(0, 10 * COPPER_SEC);
}

struct census {
    struct cu_stack_use deep, shallow, small;
};

static bool take(const struct cu_stack_use *use, void *arg)
{
    struct census *census = arg;
    assert_int_equal(use->size, sizeof(*use));
    if (use->entry == deep) {
        census->deep = *use;
    } else if (use->entry == shallow) {
        census->shallow = *use;
    } else if (use->entry == small) {
        census->small = *use;
    }
    return true;
}

static void census_is_exact(void **state)
{
    (void)state;
    struct census census = {0};
    assert_int_equal(cu_run(use_stacks, NULL), 0);
    assert_true(cu_stack_census_each(take, &census) >= 3);
    assert_int_equal(census.deep.measured, 50);
    assert_string_equal(census.deep.site->function, "use_stacks");
    assert_true(census.deep.peak_bytes >= DEEP_BYTES);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_true(census.deep.peak_bytes <= DEEP_BYTES + 4 * PAGE_BYTES);
    assert_true(census.shallow.peak_bytes <= 2 * PAGE_BYTES);
#endif
    assert_int_equal(census.deep.stack_bytes, 256 * 1024);
    assert_int_equal(census.shallow.measured, 50);
    assert_true(census.shallow.peak_bytes > 0);
    assert_true(census.shallow.peak_bytes < DEEP_BYTES);
    assert_int_equal(census.small.stack_bytes, 128 * 1024);
    assert_null(census.small.site);
}

static void go_deep_and_wait(void *arg)
{
    volatile uint64_t kept[256]; /* what is in use must stay */
    for (uint64_t i = 0; i < 256; i++) {
        kept[i] = i * (uint64_t)(uintptr_t)arg;
    }
    touch_deeply();
    cu_recv(gate, NULL);
    for (uint64_t i = 0; i < 256; i++) {
        assert_true(kept[i] == i * (uint64_t)(uintptr_t)arg);
    }
}

static bool add_resident(const struct cu_g_info *g, void *arg)
{
    unsigned char pages[64];
    if (g->entry == go_deep_and_wait && g->stack_hi) {
        assert_int_equal(g->stack_hi - g->stack_lo, sizeof(pages) * PAGE_BYTES);
        assert_int_equal(mincore((void *)(uintptr_t)g->stack_lo, sizeof(pages) * PAGE_BYTES, pages),
                         0);
        for (size_t i = 0; i < sizeof(pages); i++) {
            *(size_t *)arg += pages[i] & 1;
        }
    }
    return true;
}

static int wait_deeply(void *unused)
{
    (void)unused;
    cu_wg wg = {0};
    size_t before = 0, after = 0;
    gate = cu_chan_new(0, 0);
    for (uintptr_t i = 1; i <= 20; i++) {
        cu_wg_go(&wg, go_deep_and_wait, (void *)i);
    }
    assert_int_equal(cu_quiesce(0, 10 * COPPER_SEC), 0);
    cu_inspect_each(add_resident, &before);
    assert_true(before >= 20 * DEEP_BYTES / PAGE_BYTES);
    for (int i = 0; i < 100; i++) { /* idle, as far as others can see */
        cu_sleep(100 * COPPER_MS);
        after = 0;
        cu_inspect_each(add_resident, &after);
        if (after <= 20 * 4) {
            break;
        }
    }
    assert_true(after <= 20 * 4);
    cu_chan_close(gate);
    cu_wg_wait(&wg);
    cu_chan_unref(gate);
    return 0;
}

static void parked_stacks_are_tidied(void **state)
{
    (void)state;
    assert_int_equal(cu_run(wait_deeply, NULL), 0);
}

int main(void)
{
    setenv("COPPER_STACK_CENSUS", "1", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(census_is_exact),
        cmocka_unit_test(parked_stacks_are_tidied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
