/* SPDX-License-Identifier: Apache-2.0 */
#include "spare_symbolizer.h"

#include <stdatomic.h>

#define COPPER_SYMBOLIZER_USES 256 /* then all that was remembered is dropped */

static _Atomic(struct cu_symbolizer *) spare;
static atomic_uint uses;

struct cu_symbolizer *cu__symbolizer_borrow(void)
{
    /* acquire pairs with the release in cu__symbolizer_return: what the last user wrote is here */
    struct cu_symbolizer *s = atomic_exchange_explicit(&spare, NULL, memory_order_acquire);
    return s ? s : cu_symbolizer_open();
}

void cu__symbolizer_return(struct cu_symbolizer *s)
{
    struct cu_symbolizer *none = NULL;
    bool is_old =
        atomic_fetch_add_explicit(&uses, 1, memory_order_relaxed) % COPPER_SYMBOLIZER_USES ==
        COPPER_SYMBOLIZER_USES - 1;
    if (s && (is_old || !atomic_compare_exchange_strong_explicit(
                            &spare, &none, s, memory_order_release, memory_order_relaxed))) {
        cu_symbolizer_close(s);
    }
}
