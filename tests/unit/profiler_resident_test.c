/* SPDX-License-Identifier: Apache-2.0
 *
 * How much of many pieces is in memory, against what was touched, by either way of asking the
 * kernel. Compiles the source in.
 */
#include "resident.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* in this order */
#include <cmocka.h>

#define PIECES      400u
#define PIECE_PAGES 20u
#define PIECE_BYTES (PIECE_PAGES * PAGE_BYTES)
#define GAP_BYTES   (4 * PAGE_BYTES)
#define STRIDE      (PIECE_BYTES + GAP_BYTES)

static char *area;
static uint64_t want[PIECES];

static char *map(size_t bytes)
{
    char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(at != MAP_FAILED);
    madvise(at, bytes, MADV_NOHUGEPAGE);
    return at;
}

/* Any pages of each piece, here and there of the gaps between them too. Known numbers. */
static int set_up(void **state)
{
    (void)state;
    area = map(PIECES * STRIDE);
    srand48(7);
    for (uint32_t i = 0; i < PIECES; i++) {
        char *piece = area + i * STRIDE;
        for (uint32_t page = 0; page < PIECE_PAGES; page++) {
            bool is_touched = i % 5 == 4 ? page == PIECE_PAGES - 1 : lrand48() % 3 == 0;
            if (is_touched) {
                piece[page * PAGE_BYTES] = 1;
                want[i] += PAGE_BYTES;
            }
        }
        if (lrand48() % 2) {
            piece[PIECE_BYTES] = 1;
        }
    }
    return 0;
}

static struct cu__piece piece_at(uint32_t number)
{
    uint64_t lo = (uintptr_t)area + number * (uint64_t)STRIDE;
    return (struct cu__piece){lo, lo + PIECE_BYTES, UINT64_MAX, number};
}

static void judge(const struct cu__piece *pieces, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(pieces[i].bytes, want[pieces[i].number]);
        assert_true(i == 0 || pieces[i].lo >= pieces[i - 1].lo);
    }
}

static void neighbours_in_any_order(int pagemap)
{
    static struct cu__piece pieces[PIECES];
    for (uint32_t i = 0; i < PIECES; i++) {
        pieces[i] = piece_at(i * 7 % PIECES); /* 7 does not divide it */
    }
    cu__resident_fill(pagemap, pieces, PIECES);
    judge(pieces, PIECES);
}

/* A stack that changed hands is asked for twice. */
static void the_same_twice(int pagemap)
{
    struct cu__piece pieces[] = {piece_at(3), piece_at(2), piece_at(3), piece_at(399)};
    cu__resident_fill(pagemap, pieces, 4);
    judge(pieces, 4);
}

static void a_large_one(int pagemap)
{
    const uint64_t bytes = UINT64_C(1) << 30;
    char *at = map(bytes);
    at[0] = at[bytes / 2] = at[bytes - 1] = 1;
    struct cu__piece piece = {(uintptr_t)at, (uintptr_t)at + bytes, 0, 0};
    cu__resident_fill(pagemap, &piece, 1);
    assert_int_equal(piece.bytes, 3 * PAGE_BYTES);
    munmap(at, bytes);
}

static void all(int pagemap)
{
    neighbours_in_any_order(pagemap);
    the_same_twice(pagemap);
    a_large_one(pagemap);
    cu__resident_fill(pagemap, NULL, 0);
}

static void by_mincore(void **state)
{
    (void)state;
    all(-1);
}

static void as_the_kernel_can(void **state)
{
    (void)state;
    int pagemap = cu__resident_open();
    all(pagemap);
    close(pagemap);
}

/* It opens, and tells nothing: as where the kernel is older. */
static void a_file_that_tells_nothing(void **state)
{
    (void)state;
    int other = open("/dev/null", O_RDONLY | O_CLOEXEC);
    all(other);
    close(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_mincore),
        cmocka_unit_test(as_the_kernel_can),
        cmocka_unit_test(a_file_that_tells_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
