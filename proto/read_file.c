/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: profiles from files (cu_pprof_read_file), pipes included.
 */
#include "table.h"

#include <copper/pprof.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COPPER_READ_PART ((size_t)64 << 10) /* least room for one read */

/* All bytes of fd, up to one more than a profile may have. 0 or a negative errno value. */
static int read_all(int fd, char **bytes, size_t *n)
{
    size_t cap = 0;
    *bytes = NULL;
    *n = 0;
    while (*n <= COPPER_PPROF_BYTES_MAX) {
        int err = cu__reserve(bytes, &cap, *n + COPPER_READ_PART, 1);
        if (err)
            return err;
        ssize_t got = read(fd, *bytes + *n, cap - *n);
        if (got < 0 && errno != EINTR)
            return -errno;
        if (got == 0)
            return 0;
        if (got > 0)
            *n += (size_t)got;
    }
    return -E2BIG;
}

int cu_pprof_read_file(const char *path, struct cu_pprof **out, char *error, size_t error_size)
{
    char *bytes = NULL;
    size_t n = 0;
    *out = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int err = fd < 0 ? -errno : read_all(fd, &bytes, &n);
    if (fd >= 0)
        close(fd);
    if (err && error_size)
        snprintf(error, error_size, "%s", strerrordesc_np(-err));
    if (!err)
        err = cu_pprof_read(bytes, n, out, error, error_size);
    free(bytes);
    return err;
}
