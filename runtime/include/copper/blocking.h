/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/blocking.h: calls that keep a thread waiting in the kernel, made without keeping other
 * coroutines waiting.
 *
 * A thread runs coroutines while it holds a P, one of cu_maxprocs() rights. The calls here let the
 * P move on to another thread while this one waits:
 *
 *     cu_blocking(fn, arg)            the P is given up at once: for what is known to take long
 *     cu_syscall_enter() ... _exit()  the P stays, and is taken only if others need it and the call
 *                                     stays away: for what is mostly short
 *     cu_open, cu_pread, ...          common system calls on files, wrapped in the latter
 *
 * A blocking call that nobody announced (a plain read(2) in a library) is noticed too, some
 * milliseconds later. Calls on sockets and pipes are better made through copper/io.h and
 * copper/net.h, which park the coroutine and need no thread.
 *
 * Threads that wait here are replaced, up to COPPER_MAXTHREADS (256) threads; beyond that
 * coroutines wait until one comes back. COPPER_HANDOFF=0 leaves every P with its thread.
 *
 * All of these may be called from coroutines and plain threads (where they are the bare calls), not
 * from signal handlers. Coming back they *park*: the coroutine may continue on another thread, see
 * the rule about errno and thread-locals in copper/go.h.
 */
#ifndef COPPER_BLOCKING_H
#define COPPER_BLOCKING_H

#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Calls fn(arg) on the calling coroutine's stack and thread, after giving its P to others. fn runs
 * as code of a plain thread would beside the runtime: it may block as it likes, use thread-locals
 * and errno, take locks that other threads release. It may call the runtime too; a call that parks
 * ends the detachment, and the rest of fn runs with a P.
 * Parks when fn has returned. Costs about a microsecond while nobody waits for the P. */
void cu_blocking(void (*fn)(void *), void *arg);

/* Between the two the caller is in an announced blocking call: no parking call in between (it would
 * be noticed late that the call is over, and cost others time, no more than that). Pairs nest, the
 * outermost counts. enter costs a few stores, exit the same when the P was not needed elsewhere.
 * exit parks. Keep errno in a variable of your own before exit. */
void cu_syscall_enter(void);
void cu_syscall_exit(void);

/* System calls on files, announced as above; same parameters as the plain ones, but an error is the
 * result: -errno. They park. A call that a signal interrupted is not repeated: -EINTR. */
int cu_open(const char *path, int flags, mode_t mode);
int cu_openat(int directory, const char *path, int flags, mode_t mode);
ssize_t cu_pread(int fd, void *buffer, size_t size, off_t offset);
ssize_t cu_pwrite(int fd, const void *buffer, size_t size, off_t offset);
off_t cu_lseek(int fd, off_t offset, int whence);
int cu_fsync(int fd);
int cu_fdatasync(int fd);
int cu_ftruncate(int fd, off_t size);
int cu_flock(int fd, int operation);
int cu_stat(const char *path, struct stat *out);
int cu_lstat(const char *path, struct stat *out);
int cu_fstat(int fd, struct stat *out);
int cu_unlink(const char *path);
int cu_rename(const char *from, const char *to);
int cu_mkdir(const char *path, mode_t mode);
int cu_rmdir(const char *path);
pid_t cu_waitpid(pid_t pid, int *status, int options);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
