/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: profiles to files.
 *
 * Design: a file is written beside its target under a name of its own, synced, and renamed over it;
 * whoever opens the target sees the old or the new profile, whole. A target that is there and is no
 * regular file (/dev/stdout, a pipe) is written to directly, for it must not be replaced.
 */
#include <copper/pprof.h>

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPPER_TEMPORARY_SUFFIX 32  /* bytes of ".PID.SERIAL.tmp" and its zero */
#define COPPER_TEMPORARY_TRIES  100 /* names taken by leftovers of a killed process of our pid */

static int write_to_fd(void *ctx, const void *bytes, size_t n)
{
    int fd = *(const int *)ctx;
    for (const char *at = bytes; n;) {
        ssize_t done = write(fd, at, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -errno;
        at += done;
        n -= (size_t)done;
    }
    return 0;
}

static int write_and_close(const struct cu_pprof *p, int fd, bool sync)
{
    int err = cu_pprof_write(p, write_to_fd, &fd);
    if (!err && sync && fsync(fd))
        err = -errno;
    if (close(fd) && !err)
        err = -errno;
    return err;
}

/* Opens a new file beside path. *name (to be freed) is its name. Returns the fd or an error. */
static int open_beside(const char *path, char **name)
{
    static atomic_uint serial;
    size_t size = strlen(path) + COPPER_TEMPORARY_SUFFIX;
    *name = malloc(size);
    if (!*name)
        return -ENOMEM;
    for (int i = 0; i < COPPER_TEMPORARY_TRIES; i++) {
        snprintf(*name, size, "%s.%d.%u.tmp", path, (int)getpid(),
                 atomic_fetch_add_explicit(&serial, 1, memory_order_relaxed));
        int fd = open(*name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0)
            return fd;
        if (errno != EEXIST)
            break;
    }
    int err = -errno;
    free(*name);
    *name = NULL;
    return err;
}

int cu_pprof_write_file(const struct cu_pprof *p, const char *path)
{
    struct stat st;
    char *name;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        return fd < 0 ? -errno : write_and_close(p, fd, false);
    }
    int fd = open_beside(path, &name);
    if (fd < 0)
        return fd;
    int err = write_and_close(p, fd, true);
    if (!err && rename(name, path))
        err = -errno;
    if (err)
        unlink(name);
    free(name);
    return err;
}
