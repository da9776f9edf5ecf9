/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see pages.h.
 */
#include "pages.h"

#include <sys/mman.h>

void *cu__pages_map(size_t bytes)
{
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return pages == MAP_FAILED ? NULL : pages;
}

void *cu__pages_resize(void *pages, size_t bytes, size_t resized)
{
    void *moved = mremap(pages, bytes, resized, MREMAP_MAYMOVE);
    return moved == MAP_FAILED ? NULL : moved;
}

void cu__pages_empty(void *pages, size_t bytes)
{
    if (pages) {
        madvise(pages, bytes, MADV_DONTNEED); /* private anonymous pages read as zero again */
    }
}

void cu__pages_unmap(void *pages, size_t bytes)
{
    if (pages) {
        munmap(pages, bytes);
    }
}
