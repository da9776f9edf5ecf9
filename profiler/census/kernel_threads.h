/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the process's OS threads as the kernel shows them, and their stacks, without signals: no
 * thread is stopped and no system call sees EINTR.
 *
 * Design. For a thread that waits in the kernel, /proc/self/task/TID/syscall gives its stack
 * pointer and pc; its stack is copied with process_vm_readv and walked from there. Whether it ran
 * meanwhile is told by its count of time slices; then it is looked at again, and after a few vain
 * looks it counts as running. Of a running thread the stack is not known.
 */
#ifndef COPPER_KERNEL_THREADS_H
#define COPPER_KERNEL_THREADS_H

#include <copper/stacks.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cu__thread {
    pid_t tid;
    char name[32];
    const char *state; /* static text: "running", "epoll_wait", "futex", ... */
    bool has_regs;     /* sp and pc are known: it waits in the kernel */
    uint64_t sp, pc;
    uint64_t slices; /* how often it was given a CPU */
};

/* What a census of threads needs to know once: the mappings, room for a copied stack. */
struct cu__thread_reader;
struct cu__thread_reader *cu__thread_reader_open(void); /* NULL: out of memory */
void cu__thread_reader_close(struct cu__thread_reader *r);

/* Calls visit for every thread that is not ours (cu__is_own_thread) until it returns false. */
void cu__threads_each(bool (*visit)(const struct cu__thread *t, void *arg), void *arg);

/* How many of them there are. */
unsigned cu__threads_count(void);

/* The stack of t, leaf first; 0 frames when it runs or cannot be read. t gets what it was when the
 * stack was copied. hi: end of readable stack where the caller knows it, else 0. */
unsigned cu__thread_walk(struct cu__thread_reader *r, struct cu__thread *t, uint64_t hi,
                         cu_frame *frames, unsigned max);

#endif
