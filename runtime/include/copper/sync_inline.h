/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/sync_inline.h: what is compiled into programs of copper/sync.h, which includes it: the
 * calls that find nobody in their way, without the call. Where there is one, the caller is on the
 * stack meanwhile, also when it is the last thing that a function does: profiles name who unlocks.
 *
 * So this is part of the binary interface: what the words below mean, and the thread-local
 * cu_running_id, stay as they are until the library gets another SONAME. The functions themselves
 * are in the library too, and mean the same; they are called where a compiler does not optimise,
 * for another machine, through a pointer, and after
 *
 *     #define COPPER_NO_INLINE
 *
 * before the first header of copper, e.g. to interpose them.
 *
 *     cu_mutex       word 0: 0 free; else COPPER_MUTEX_LOCKED, COPPER_MUTEX_WAITERS, and above
 *                    them the id of the coroutine that locked it, 0 for a plain thread
 *     cu_rwmutex     word 0: how many COPPER_RWMUTEX_READER; below them 0 while no writer has it
 *                    and nobody waits
 *     cu_once        word 0: COPPER_ONCE_DONE when it is
 */
#ifndef COPPER_SYNC_INLINE_H
#define COPPER_SYNC_INLINE_H

#include <copper/sync.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define COPPER_MUTEX_LOCKED   1u
#define COPPER_MUTEX_WAITERS  2u
#define COPPER_MUTEX_ID_SHIFT 2
#define COPPER_RWMUTEX_READER 4u
#define COPPER_ONCE_DONE      2u

#if defined(__x86_64__) && defined(__LP64__) && !defined(COPPER_NO_INLINE)

/* A definition to inline, and never one to call; reports and profiles show its caller. */
#define COPPER_INLINE    extern __inline__ __attribute__((__gnu_inline__, __artificial__))
#define COPPER_EXPECT(x) __builtin_expect(!!(x), 1)
/* After a call: it is not the last thing then, and so no jump that leaves the caller's frame. */
#define COPPER_STAY() __asm__ __volatile__("")

/* The library's own, by a name that is not inlined: the same functions once more, for a call of its
 * own name is a recursion to a compiler, and clang inlines none of those. */
void cu_mutex_lock_called(cu_mutex *mu);
void cu_mutex_unlock_called(cu_mutex *mu);
void cu_rwmutex_unlock_called(cu_rwmutex *rw);
void cu_rwmutex_rlock_called(cu_rwmutex *rw);
void cu_rwmutex_runlock_called(cu_rwmutex *rw);
void cu_sem_release_called(cu_sem *sem, int64_t n);
void cu_once_do_called(cu_once *once, void (*fn)(void *), void *arg);

#ifdef __clang__
/* Where it inlines nothing it can be told to stay. */
#define COPPER_STAYS __attribute__((__not_tail_called__))
COPPER_STAYS void cu_mutex_unlock(cu_mutex *mu);
COPPER_STAYS void cu_rwmutex_unlock(cu_rwmutex *rw);
COPPER_STAYS void cu_rwmutex_runlock(cu_rwmutex *rw);
COPPER_STAYS void cu_sem_release(cu_sem *sem, int64_t n);
#undef COPPER_STAYS
#endif

/* What a mutex is once the caller has locked it. One asm, so that no compiler can keep the address
 * of the thread-local, which is another one after a call that parks. */
COPPER_INLINE __attribute__((__always_inline__)) uint64_t cu_mutex_mine(void)
{
    uint64_t id;
    __asm__ __volatile__("movq cu_running_id@gottpoff(%%rip), %0\n\tmovq %%fs:(%0), %0"
                         : "=r"(id)
                         :
                         : "memory");
    return id << COPPER_MUTEX_ID_SHIFT | COPPER_MUTEX_LOCKED;
}

COPPER_INLINE void cu_mutex_lock(cu_mutex *mu)
{
    uint64_t word = 0;
    if (!COPPER_EXPECT(__atomic_compare_exchange_n(&mu->opaque[0], &word, cu_mutex_mine(), false,
                                                   __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))) {
        cu_mutex_lock_called(mu);
        COPPER_STAY();
    }
}

COPPER_INLINE bool cu_mutex_try_lock(cu_mutex *mu)
{
    uint64_t word = __atomic_load_n(&mu->opaque[0], __ATOMIC_RELAXED);
    return !(word & COPPER_MUTEX_LOCKED) &&
           __atomic_compare_exchange_n(&mu->opaque[0], &word, word | cu_mutex_mine(), false,
                                       __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

/* Whoever locked it: the word is looked at first. */
COPPER_INLINE void cu_mutex_unlock(cu_mutex *mu)
{
    uint64_t word = __atomic_load_n(&mu->opaque[0], __ATOMIC_RELAXED);
    if (!COPPER_EXPECT((word & (COPPER_MUTEX_LOCKED | COPPER_MUTEX_WAITERS)) ==
                           COPPER_MUTEX_LOCKED &&
                       __atomic_compare_exchange_n(&mu->opaque[0], &word, 0, false,
                                                   __ATOMIC_RELEASE, __ATOMIC_RELAXED))) {
        cu_mutex_unlock_called(mu);
        COPPER_STAY();
    }
}

COPPER_INLINE void cu_rwmutex_unlock(cu_rwmutex *rw)
{
    cu_rwmutex_unlock_called(rw);
    COPPER_STAY();
}

COPPER_INLINE void cu_rwmutex_rlock(cu_rwmutex *rw)
{
    uint64_t word = __atomic_load_n(&rw->opaque[0], __ATOMIC_RELAXED);
    if (!COPPER_EXPECT(word % COPPER_RWMUTEX_READER == 0 &&
                       __atomic_compare_exchange_n(&rw->opaque[0], &word,
                                                   word + COPPER_RWMUTEX_READER, false,
                                                   __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))) {
        cu_rwmutex_rlock_called(rw);
        COPPER_STAY();
    }
}

COPPER_INLINE void cu_rwmutex_runlock(cu_rwmutex *rw)
{
    uint64_t word = __atomic_load_n(&rw->opaque[0], __ATOMIC_RELAXED);
    if (!COPPER_EXPECT(word != 0 && word % COPPER_RWMUTEX_READER == 0 &&
                       __atomic_compare_exchange_n(&rw->opaque[0], &word,
                                                   word - COPPER_RWMUTEX_READER, false,
                                                   __ATOMIC_RELEASE, __ATOMIC_RELAXED))) {
        cu_rwmutex_runlock_called(rw);
        COPPER_STAY();
    }
}

COPPER_INLINE void cu_sem_release(cu_sem *sem, int64_t n)
{
    cu_sem_release_called(sem, n);
    COPPER_STAY();
}

COPPER_INLINE void cu_once_do(cu_once *once, void (*fn)(void *), void *arg)
{
    if (!COPPER_EXPECT(__atomic_load_n(&once->opaque[0], __ATOMIC_ACQUIRE) == COPPER_ONCE_DONE)) {
        cu_once_do_called(once, fn, arg);
        COPPER_STAY();
    }
}

#undef COPPER_INLINE
#undef COPPER_EXPECT
#undef COPPER_STAY
#endif

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
