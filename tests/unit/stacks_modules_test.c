/* SPDX-License-Identifier: Apache-2.0
 *
 * More modules than there is room for, each at an address of its own: they are counted, what there
 * was before stays, and memory grows no more.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* in this order */
#include <setjmp.h>

#include <cmocka.h>
#include <copper/stacks.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BATCH      4096u
#define STRIDE     (64u << 10) /* between two copies */
#define PAGE       4096u
#define GROWTH_MAX (512u << 10) /* bytes; without an end to them, a batch takes more than two MiB  \
                                 */

static char *space;
static unsigned place;

/* Loads the first page of a file of code at BATCH new places, has it looked at, and unloads it. */
static void come_and_go(int file)
{
    char *from = space + (size_t)place * STRIDE;
    for (unsigned i = 0; i < BATCH; i++) {
        void *at = mmap(from + (size_t)i * STRIDE, PAGE, PROT_READ | PROT_EXEC,
                        MAP_PRIVATE | MAP_FIXED, file, 0);
        assert_ptr_not_equal(at, MAP_FAILED);
    }
    place += BATCH;
    cu_modules_closing_sig(); /* so that there is something to look at */
    cu_modules_closed_sig();
    assert_int_equal(cu_stacks_prepare(), 0);
    void *gone = mmap(from, (size_t)BATCH * STRIDE, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    assert_ptr_not_equal(gone, MAP_FAILED);
}

static size_t in_use(void)
{
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

static void beyond_the_last_module(void **state)
{
    struct cu_stacks_stats stats;
    (void)state;
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    assert_true(file >= 0);
    size_t batches = COPPER_MODULES_MAX / BATCH + 4;
    space = mmap(NULL, batches * BATCH * STRIDE, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_ptr_not_equal(space, MAP_FAILED);
    assert_int_equal(cu_stacks_prepare(), 0);
    uint32_t first = cu_module_at((uint64_t)(uintptr_t)&beyond_the_last_module)->id;

    come_and_go(file);
    cu_stacks_stats_read(&stats);
    assert_true(stats.modules >= BATCH); /* each is one */
    assert_int_equal(stats.modules_refused, 0);
    while (stats.modules_refused == 0 && place < (batches - 2) * BATCH) {
        come_and_go(file);
        cu_stacks_stats_read(&stats);
    }
    assert_int_equal(stats.modules, COPPER_MODULES_MAX);
    assert_true(stats.modules_refused > 0);

    uint64_t refused = stats.modules_refused;
    size_t before = in_use();
    come_and_go(file);
    come_and_go(file);
    cu_stacks_stats_read(&stats);
    assert_int_equal(stats.modules, COPPER_MODULES_MAX);
    assert_int_equal(stats.modules_refused, refused + 2 * BATCH);
    assert_true(in_use() < before + GROWTH_MAX);
    assert_int_equal(cu_module_at((uint64_t)(uintptr_t)&beyond_the_last_module)->id, first);
    close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(beyond_the_last_module)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
