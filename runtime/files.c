/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the system calls of copper/blocking.h.
 *
 * Each result is turned into -errno before the call is announced as over: from then on this may be
 * another thread, with another errno.
 */
#include <copper/blocking.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base.h"

#define ANNOUNCED(call)                                                                            \
    do {                                                                                           \
        cu_syscall_enter();                                                                        \
        __typeof__(call) result = (call);                                                          \
        if (result < 0) {                                                                          \
            result = -errno;                                                                       \
        }                                                                                          \
        cu_syscall_exit();                                                                         \
        return result;                                                                             \
    } while (0)

int cu_open(const char *path, int flags, mode_t mode)
{
    ANNOUNCED(open(path, flags, mode));
}

int cu_openat(int directory, const char *path, int flags, mode_t mode)
{
    ANNOUNCED(openat(directory, path, flags, mode));
}

ssize_t cu_pread(int fd, void *buffer, size_t size, off_t offset)
{
    ANNOUNCED(pread(fd, buffer, size, offset));
}

ssize_t cu_pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
    ANNOUNCED(pwrite(fd, buffer, size, offset));
}

off_t cu_lseek(int fd, off_t offset, int whence)
{
    ANNOUNCED(lseek(fd, offset, whence));
}

int cu_fsync(int fd)
{
    ANNOUNCED(fsync(fd));
}

int cu_fdatasync(int fd)
{
    ANNOUNCED(fdatasync(fd));
}

int cu_ftruncate(int fd, off_t size)
{
    ANNOUNCED(ftruncate(fd, size));
}

int cu_flock(int fd, int operation)
{
    ANNOUNCED(flock(fd, operation));
}

int cu_stat(const char *path, struct stat *out)
{
    ANNOUNCED(stat(path, out));
}

int cu_lstat(const char *path, struct stat *out)
{
    ANNOUNCED(lstat(path, out));
}

int cu_fstat(int fd, struct stat *out)
{
    ANNOUNCED(fstat(fd, out));
}

int cu_unlink(const char *path)
{
    ANNOUNCED(unlink(path));
}

int cu_rename(const char *from, const char *to)
{
    ANNOUNCED(rename(from, to));
}

int cu_mkdir(const char *path, mode_t mode)
{
    ANNOUNCED(mkdir(path, mode));
}

int cu_rmdir(const char *path)
{
    ANNOUNCED(rmdir(path));
}

pid_t cu_waitpid(pid_t pid, int *status, int options)
{
    ANNOUNCED(waitpid(pid, status, options));
}
