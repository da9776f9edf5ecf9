/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the interposed allocation calls. Each forwards to the next definition in the process,
 * the host's allocator, and has itself counted on the way.
 *
 * Design. The common way is a subtraction and a jump: what has nothing to do after the host's call
 * ends in a tail call of it, so that our frame is gone by then. The host's functions are reached
 * through `host`, whose members begin as functions that look all of them up and go on: no test
 * whether that was done.
 *
 * Looking up may itself allocate, on C libraries whose dlsym does; such calls are served from a
 * small static pool. Its blocks are never given back; once it was used, a host.free stands in front
 * of the real one that knows them. Callers that find no pool left get NULL and ENOMEM.
 *
 * This file is compiled with sibling calls optimised and without sanitizers, and knows no lock.
 */
#include "internal.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT     __attribute__((visibility("default")))
#define LIKELY(x)  __builtin_expect(!!(x), 1)
#define POOL_BYTES 32768u
#define POOL_ALIGN 16u
#define PAGE_BYTES 4096u

static void *first_malloc(size_t n);
static void *first_calloc(size_t n, size_t size);
static void *first_realloc(void *p, size_t n);
static void *first_reallocarray(void *p, size_t n, size_t size);
static int first_posix_memalign(void **out, size_t alignment, size_t n);
static void *first_aligned_alloc(size_t alignment, size_t n);
static void *first_memalign(size_t alignment, size_t n);
static void *first_valloc(size_t n);
static void *first_pvalloc(size_t n);
static void first_free(void *p);

/* What comes after us in the process. Written by whoever looks up, always with the same values. */
static struct {
    void *(*_Atomic malloc)(size_t);
    void *(*_Atomic calloc)(size_t, size_t);
    void *(*_Atomic realloc)(void *, size_t);
    void *(*_Atomic reallocarray)(void *, size_t, size_t);
    int (*_Atomic posix_memalign)(void **, size_t, size_t);
    void *(*_Atomic aligned_alloc)(size_t, size_t);
    void *(*_Atomic memalign)(size_t, size_t);
    void *(*_Atomic valloc)(size_t);
    void *(*_Atomic pvalloc)(size_t);
    void (*_Atomic free)(void *);
} host = {first_malloc,         first_calloc,        first_realloc,  first_reallocarray,
          first_posix_memalign, first_aligned_alloc, first_memalign, first_valloc,
          first_pvalloc,        first_free};

#define HOST(name) atomic_load_explicit(&host.name, memory_order_relaxed)

/* ---- before the host's calls are known --------------------------------------------------------
 */

static _Alignas(POOL_ALIGN) char pool[POOL_BYTES];
static _Atomic size_t pool_used;
static void (*_Atomic real_free)(void *);
static void *(*_Atomic real_realloc)(void *, size_t);
static __thread bool is_looking_up __attribute__((tls_model("initial-exec")));

static bool is_in_pool(const void *p)
{
    return (const char *)p >= pool && (const char *)p < pool + POOL_BYTES;
}

/* Zeroed, with its size in front. */
static void *pool_alloc(size_t n)
{
    size_t need = n > POOL_BYTES ? POOL_BYTES + 1
                                 : POOL_ALIGN + ((n + POOL_ALIGN - 1) & ~(size_t)(POOL_ALIGN - 1));
    size_t at = atomic_load(&pool_used);
    do {
        if (need > POOL_BYTES - at) {
            errno = ENOMEM;
            return NULL;
        }
    } while (!atomic_compare_exchange_weak(&pool_used, &at, at + need));
    memcpy(pool + at, &n, sizeof n);
    return pool + at + POOL_ALIGN;
}

static size_t pool_size_of(const void *p)
{
    size_t n;
    memcpy(&n, (const char *)p - POOL_ALIGN, sizeof n);
    return n;
}

static void free_unless_pool(void *p)
{
    void (*fn)(void *) = atomic_load(&real_free);
    if (!is_in_pool(p) && fn) {
        fn(p);
    }
}

static void *realloc_unless_pool(void *p, size_t n)
{
    if (p && is_in_pool(p)) {
        void *grown = HOST(malloc)(n);
        size_t have = pool_size_of(p);
        return grown ? memcpy(grown, p, have < n ? have : n) : NULL;
    }
    return atomic_load(&real_realloc)(p, n);
}

/* What a host without the call does instead. */
static void *reallocarray_by_realloc(void *p, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return HOST(realloc)(p, bytes);
}

static void fail_to_start(const char *name)
{
    static const char before[] = "copper: the process has no ", after[] = " behind copper::heap\n";
    ssize_t ignored = write(STDERR_FILENO, before, sizeof before - 1);
    ignored = write(STDERR_FILENO, name, strlen(name));
    ignored = write(STDERR_FILENO, after, sizeof after - 1);
    (void)ignored;
    abort();
}

#define LOOK_UP(name)                                                                              \
    do {                                                                                           \
        void *found = dlsym(RTLD_NEXT, #name);                                                     \
        if (!found) {                                                                              \
            fail_to_start(#name);                                                                  \
        }                                                                                          \
        atomic_store(&host.name, (__typeof__(HOST(name)))found);                                   \
    } while (0)

static void look_up_all(void)
{
    is_looking_up = true;
    void *array = dlsym(RTLD_NEXT, "reallocarray");
    atomic_store(&host.reallocarray,
                 array ? (__typeof__(HOST(reallocarray)))array : reallocarray_by_realloc);
    atomic_store(&real_free, (void (*)(void *))dlsym(RTLD_NEXT, "free"));
    atomic_store(&real_realloc, (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc"));
    LOOK_UP(calloc);
    LOOK_UP(posix_memalign);
    LOOK_UP(aligned_alloc);
    LOOK_UP(memalign);
    LOOK_UP(valloc);
    LOOK_UP(pvalloc);
    LOOK_UP(realloc);
    LOOK_UP(free);
    LOOK_UP(malloc);
    if (atomic_load(&pool_used) > 0) {
        atomic_store(&host.free, free_unless_pool);
        atomic_store(&host.realloc, realloc_unless_pool);
    }
    is_looking_up = false;
}

static void *first_malloc(size_t n)
{
    if (is_looking_up) {
        return pool_alloc(n);
    }
    look_up_all();
    return HOST(malloc)(n);
}

static void *first_calloc(size_t n, size_t size)
{
    size_t bytes;
    if (is_looking_up) {
        return __builtin_mul_overflow(n, size, &bytes) ? NULL : pool_alloc(bytes);
    }
    look_up_all();
    return HOST(calloc)(n, size);
}

static void *first_realloc(void *p, size_t n)
{
    if (is_looking_up) {
        void *grown = pool_alloc(n);
        size_t have = p ? pool_size_of(p) : 0;
        return grown && p ? memcpy(grown, p, have < n ? have : n) : grown;
    }
    look_up_all();
    return HOST(realloc)(p, n);
}

static void first_free(void *p)
{
    if (is_looking_up || is_in_pool(p)) {
        return; /* only the pool can have given it */
    }
    look_up_all();
    HOST(free)(p);
}

/* dlsym asks for none of these. */
static void *first_reallocarray(void *p, size_t n, size_t size)
{
    look_up_all();
    return HOST(reallocarray)(p, n, size);
}

static int first_posix_memalign(void **out, size_t alignment, size_t n)
{
    look_up_all();
    return HOST(posix_memalign)(out, alignment, n);
}

static void *first_aligned_alloc(size_t alignment, size_t n)
{
    look_up_all();
    return HOST(aligned_alloc)(alignment, n);
}

static void *first_memalign(size_t alignment, size_t n)
{
    look_up_all();
    return HOST(memalign)(alignment, n);
}

static void *first_valloc(size_t n)
{
    look_up_all();
    return HOST(valloc)(n);
}

static void *first_pvalloc(size_t n)
{
    look_up_all();
    return HOST(pvalloc)(n);
}

/* gcc wants an alias to have the attributes that it gives malloc itself; clang has no such word. */
#if __has_attribute(copy)
#define LIKE(function) __attribute__((copy(function)))
#else
#define LIKE(function)
#endif

/* Ours, whoever else has one: `malloc` itself means the first one of the process here too. */
extern void *cu__own_malloc(size_t n) LIKE(malloc)
    __attribute__((alias("malloc"), visibility("hidden")));

bool cu__wrap_is_first(void)
{
    return dlsym(RTLD_DEFAULT, "malloc") == (void *)cu__own_malloc;
}

/* ---- the calls ---------------------------------------------------------------------------------
 */

/* Subtracts n from the thread's countdown. False: a sample may be due. */
static inline bool passes(size_t n)
{
    uint64_t left = cu__heap_thread.left;
    if (LIKELY(n < left)) {
        cu__heap_thread.left = left - n;
        return true;
    }
    return false;
}

/* The slow way of each: ask, call the host, record. */
#define SLOWLY(bytes, call)                                                                        \
    uint64_t rate;                                                                                 \
    bool is_due = cu__heap_is_due(bytes, &rate);                                                   \
    void *p = call;                                                                                \
    if (is_due && p) {                                                                             \
        cu__heap_record(p, bytes, rate);                                                           \
    }                                                                                              \
    return p

#define SLOW static __attribute__((noinline))

SLOW void *malloc_slow(size_t n)
{
    SLOWLY(n, HOST(malloc)(n));
}

EXPORT void *malloc(size_t n)
{
    return passes(n) ? HOST(malloc)(n) : malloc_slow(n);
}

SLOW void *calloc_slow(size_t n, size_t size, size_t bytes)
{
    SLOWLY(bytes, HOST(calloc)(n, size));
}

EXPORT void *calloc(size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes)) {
        return HOST(calloc)(n, size); /* which refuses */
    }
    return passes(bytes) ? HOST(calloc)(n, size) : calloc_slow(n, size, bytes);
}

SLOW void *aligned_alloc_slow(size_t alignment, size_t n)
{
    SLOWLY(n, HOST(aligned_alloc)(alignment, n));
}

EXPORT void *aligned_alloc(size_t alignment, size_t n)
{
    return passes(n) ? HOST(aligned_alloc)(alignment, n) : aligned_alloc_slow(alignment, n);
}

SLOW void *memalign_slow(size_t alignment, size_t n)
{
    SLOWLY(n, HOST(memalign)(alignment, n));
}

EXPORT void *memalign(size_t alignment, size_t n)
{
    return passes(n) ? HOST(memalign)(alignment, n) : memalign_slow(alignment, n);
}

SLOW void *valloc_slow(size_t n)
{
    SLOWLY(n, HOST(valloc)(n));
}

EXPORT void *valloc(size_t n)
{
    return passes(n) ? HOST(valloc)(n) : valloc_slow(n);
}

SLOW void *pvalloc_slow(size_t n, size_t bytes)
{
    SLOWLY(bytes, HOST(pvalloc)(n));
}

EXPORT void *pvalloc(size_t n)
{
    size_t bytes = n > SIZE_MAX - PAGE_BYTES ? n : (n + PAGE_BYTES - 1) & ~(size_t)(PAGE_BYTES - 1);
    return passes(bytes) ? HOST(pvalloc)(n) : pvalloc_slow(n, bytes);
}

SLOW int posix_memalign_slow(void **out, size_t alignment, size_t n)
{
    uint64_t rate;
    bool is_due = cu__heap_is_due(n, &rate);
    int err = HOST(posix_memalign)(out, alignment, n);
    if (is_due && err == 0 && *out) {
        cu__heap_record(*out, n, rate);
    }
    return err;
}

EXPORT int posix_memalign(void **out, size_t alignment, size_t n)
{
    return passes(n) ? HOST(posix_memalign)(out, alignment, n)
                     : posix_memalign_slow(out, alignment, n);
}

/* Before the host may give the old address away its block is taken out; a host that refuses leaves
 * it where it was. */
SLOW void *realloc_slow(void *old, size_t n)
{
    uint64_t rate;
    struct cu__block block;
    bool is_due = n >= cu__heap_thread.left && cu__heap_is_due(n, &rate);
    if (!is_due && n < cu__heap_thread.left) {
        cu__heap_thread.left -= n;
    }
    bool was_known =
        old && cu__block_may_be_known(old) && cu__block_take((uint64_t)(uintptr_t)old, &block);
    void *p = HOST(realloc)(old, n);
    if (was_known && (p || n == 0)) {
        cu__heap_count_free(&block);
    } else if (was_known && !cu__block_add(&block)) {
        cu__heap_count_free(&block);
    }
    if (is_due && p) {
        cu__heap_record(p, n, rate);
    }
    return p;
}

EXPORT void *realloc(void *old, size_t n)
{
    if (LIKELY(n < cu__heap_thread.left && !cu__block_may_be_known(old))) {
        cu__heap_thread.left -= n;
        return HOST(realloc)(old, n);
    }
    return realloc_slow(old, n);
}

EXPORT void *reallocarray(void *old, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes)) {
        return HOST(reallocarray)(old, n, size); /* which refuses */
    }
    return realloc(old, bytes);
}

SLOW void free_slow(void *p)
{
    cu__heap_forget(p);
    HOST(free)(p);
}

EXPORT void free(void *p)
{
    if (LIKELY(!cu__block_may_be_known(p))) {
        HOST(free)(p);
    } else {
        free_slow(p);
    }
}
