/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see resident.h.
 */
#include "resident.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define PAGE_BYTES  4096u
#define BATCH_PAGES 512u
#define NEAR_BYTES  (2u << 20) /* what a page of the page table maps: walked or not as a whole */
#define REGIONS     128u

/* linux/fs.h, of 6.7 and later */
struct page_scan {
    uint64_t size, flags, start, end, walk_end, regions, nregions, max_pages;
    uint64_t category_inverted, category_mask, category_any, return_mask;
};
struct scan_region {
    uint64_t start, end, categories;
};
#define COPPER_PAGEMAP_SCAN    _IOWR('f', 16, struct page_scan)
#define COPPER_PAGE_IS_PRESENT (UINT64_C(1) << 3)

int cu__resident_open(void)
{
    return open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
}

/* ---- by mincore ------------------------------------------------------------------------------ */

static void ask_mincore(struct cu__piece *piece)
{
    unsigned char is_there[BATCH_PAGES];
    uint64_t pages = 0, n;
    for (uint64_t at = piece->lo; at < piece->hi; at += n * PAGE_BYTES) {
        n = (piece->hi - at) / PAGE_BYTES;
        n = n < BATCH_PAGES ? n : BATCH_PAGES;
        if (n == 0 || mincore((void *)(uintptr_t)at, n * PAGE_BYTES, is_there) != 0) {
            break;
        }
        for (uint64_t i = 0; i < n; i++) {
            pages += is_there[i] & 1;
        }
    }
    piece->bytes = pages * PAGE_BYTES;
}

/* ---- by PAGEMAP_SCAN ------------------------------------------------------------------------- */

/* Adds what each of the pieces has of the region. How many of them end before it. */
static size_t share_out(const struct scan_region *r, struct cu__piece *pieces, size_t n)
{
    size_t before = 0;
    while (before < n && pieces[before].hi <= r->start) {
        before++;
    }
    for (size_t i = before; i < n && pieces[i].lo < r->end; i++) {
        uint64_t lo = r->start > pieces[i].lo ? r->start : pieces[i].lo;
        uint64_t hi = r->end < pieces[i].hi ? r->end : pieces[i].hi;
        pieces[i].bytes += hi > lo ? hi - lo : 0;
    }
    return before;
}

/* Pieces that lie near each other. False: the kernel does not tell. */
static bool scan_row(int pagemap, struct cu__piece *pieces, size_t n)
{
    struct scan_region regions[REGIONS];
    struct page_scan scan = {.size = sizeof scan,
                             .start = pieces[0].lo,
                             .end = pieces[n - 1].hi,
                             .regions = (uintptr_t)regions,
                             .nregions = REGIONS,
                             .category_mask = COPPER_PAGE_IS_PRESENT,
                             .return_mask = COPPER_PAGE_IS_PRESENT};
    size_t first = 0;
    while (scan.start < scan.end) {
        int found = ioctl(pagemap, COPPER_PAGEMAP_SCAN, &scan);
        if (found < 0 || scan.walk_end <= scan.start) {
            return false;
        }
        for (int i = 0; i < found; i++) {
            first += share_out(&regions[i], pieces + first, n - first);
        }
        scan.start = scan.walk_end;
    }
    return true;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int by_address(const void *a, const void *b)
{
    const struct cu__piece *x = a, *y = b;
    return (x->lo > y->lo) - (x->lo < y->lo);
}

static bool is_sorted(const struct cu__piece *pieces, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        if (pieces[i].lo < pieces[i - 1].lo) {
            return false;
        }
    }
    return true;
}

static void fill_row(int pagemap, struct cu__piece *pieces, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        pieces[i].bytes = 0;
    }
    if (pagemap >= 0 && scan_row(pagemap, pieces, n)) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        ask_mincore(&pieces[i]);
    }
}

void cu__resident_fill(int pagemap, struct cu__piece *pieces, size_t n)
{
    if (!is_sorted(pieces, n)) {
        qsort(pieces, n, sizeof(*pieces), by_address);
    }
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && pieces[end].lo < pieces[end - 1].hi + NEAR_BYTES;) {
            end++;
        }
        fill_row(pagemap, pieces + i, end - i);
    }
}
