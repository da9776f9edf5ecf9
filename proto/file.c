/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: profiles, and what else wants it, to files.
 *
 * Design: a file is written beside its target under a name of its own, synced, and renamed over it;
 * whoever opens the target sees the old or the new file, whole. A target that is there and is no
 * regular file (/dev/stdout, a pipe) is written to directly, for it must not be replaced.
 *
 * Invariants: after the first error nothing is written any more, and close removes what there is.
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

struct cu_pprof_file {
    int fd, err;
    bool is_synced;
    char *beside; /* NULL: the target is written to directly */
    char target[];
};

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

int cu_pprof_file_open(const char *path, bool is_synced, struct cu_pprof_file **out)
{
    struct stat st;
    size_t n = strlen(path) + 1;
    struct cu_pprof_file *f = malloc(sizeof *f + n);
    *out = NULL;
    if (!f)
        return -ENOMEM;
    memcpy(f->target, path, n);
    f->err = 0;
    f->is_synced = is_synced;
    f->beside = NULL;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        f->fd = open(path, O_WRONLY | O_CLOEXEC);
        f->fd = f->fd < 0 ? -errno : f->fd;
    } else {
        f->fd = open_beside(path, &f->beside);
    }
    if (f->fd < 0) {
        int err = f->fd;
        free(f);
        return err;
    }
    *out = f;
    return 0;
}

int cu_pprof_file_write(void *file, const void *bytes, size_t n)
{
    struct cu_pprof_file *f = file;
    for (const char *at = bytes; n && !f->err;) {
        ssize_t done = write(f->fd, at, n);
        if (done < 0 && errno != EINTR)
            f->err = -errno;
        at += done > 0 ? done : 0;
        n -= done > 0 ? (size_t)done : 0;
    }
    return f->err;
}

int cu_pprof_file_close(struct cu_pprof_file *f, int err)
{
    err = f->err ? f->err : err;
    if (!err && f->beside && f->is_synced && fsync(f->fd))
        err = -errno;
    if (close(f->fd) && !err)
        err = -errno;
    if (!err && f->beside && rename(f->beside, f->target))
        err = -errno;
    if (err && f->beside)
        unlink(f->beside);
    free(f->beside);
    free(f);
    return err;
}

int cu_pprof_write_file(const struct cu_pprof *p, const char *path)
{
    struct cu_pprof_file *f;
    int err = cu_pprof_file_open(path, true, &f);
    return err ? err : cu_pprof_file_close(f, cu_pprof_write(p, cu_pprof_file_write, f));
}
