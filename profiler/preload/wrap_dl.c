/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: interposes dlclose. A library that is loaded next can land at the addresses of the one
 * just closed; recorded addresses are told apart by an epoch that has to move around the close.
 *
 * Concurrency: any thread, any time, also before our own constructor: the real function is looked up
 * on first use, and two threads that look it up at once store the same answer.
 */
#include "preload.h"

#include <dlfcn.h>
#include <stddef.h>

typedef int dlclose_fn(void *);

static _Atomic(dlclose_fn *) real_dlclose;

static dlclose_fn *find_dlclose(void)
{
    dlclose_fn *fn = atomic_load_explicit(&real_dlclose, memory_order_relaxed);
    if (!fn) {
        fn = (dlclose_fn *)dlsym(RTLD_NEXT, "dlclose");
        atomic_store_explicit(&real_dlclose, fn, memory_order_relaxed);
    }
    return fn;
}

__attribute__((visibility("default"))) int dlclose(void *handle)
{
    dlclose_fn *fn = find_dlclose();
    if (!fn) {
        return -1; /* a C library without dlclose: there is nothing to close */
    }
    if (!cu__wrap_is_active()) {
        return fn(handle);
    }
    atomic_load_explicit(&cu__wrap_hooks.modules_closing, memory_order_relaxed)();
    int result = fn(handle);
    atomic_load_explicit(&cu__wrap_hooks.modules_closed, memory_order_relaxed)();
    return result;
}
