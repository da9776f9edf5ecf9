/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: read our own memory without ever faulting, and list what is mapped.
 *
 * Design. A module may be unmapped by another thread at any moment, so its bytes are never
 * dereferenced: the kernel copies them (process_vm_readv on ourselves) and says how many were
 * there. Where a sandbox forbids that call, /proc/self/mem does the same.
 *
 * Signal safety: cu__read_self is system calls only. cu__maps_read allocates.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAPS_BYTES_FIRST (64u << 10)
#define MAPS_BYTES_MAX   (256u << 20)

static size_t read_proc_mem(uint64_t address, void *buf, size_t n)
{
    int fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t got = pread(fd, buf, n, (off_t)address);
    close(fd);
    return got > 0 ? (size_t)got : 0;
}

size_t cu__read_self(uint64_t address, void *buf, size_t n)
{
    struct iovec local = {buf, n};
    struct iovec remote = {(void *)(uintptr_t)address, n};
    if (n == 0 || address + n < address)
        return 0;
    ssize_t got = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
    if (got < 0 && (errno == ENOSYS || errno == EPERM))
        return read_proc_mem(address, buf, n);
    return got > 0 ? (size_t)got : 0;
}

static size_t read_self(void *ctx, uint64_t address, void *buf, size_t n)
{
    (void)ctx;
    size_t done = 0;
    /* one call stops at the first page that is not there; it also stops for no reason we care about
     */
    while (done < n) {
        size_t got = cu__read_self(address + done, (char *)buf + done, n - done);
        if (got == 0)
            break;
        done += got;
    }
    return done;
}

const struct cu__memory cu__self_memory = {read_self, NULL};

bool cu__read_exactly(const struct cu__memory *m, uint64_t address, void *buf, size_t n)
{
    return m->read(m->ctx, address, buf, n) == n;
}

/* The whole of a /proc file, NUL-terminated. */
static char *read_whole(const char *path, size_t *n_out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    size_t cap = MAPS_BYTES_FIRST, n = 0;
    char *text = malloc(cap);
    while (text) {
        if (n + 1 >= cap) {
            char *more = cap < MAPS_BYTES_MAX ? realloc(text, cap * 2) : NULL;
            if (!more) {
                free(text);
                text = NULL;
                break;
            }
            text = more;
            cap *= 2;
        }
        ssize_t got = read(fd, text + n, cap - n - 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    close(fd);
    if (text) {
        text[n] = '\0';
        *n_out = n;
    }
    return text;
}

static uint64_t take_hex(char **p)
{
    uint64_t v = 0;
    for (;; (*p)++) {
        char c = **p;
        if (c >= '0' && c <= '9')
            v = v << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            v = v << 4 | (uint64_t)(c - 'a' + 10);
        else
            return v;
    }
}

/* The kernel writes a newline in a path as \012. */
static void unescape(char *path)
{
    char *to = path;
    for (char *from = path; *from; from++) {
        if (strncmp(from, "\\012", 4) == 0) {
            *to++ = '\n';
            from += 3;
        } else {
            *to++ = *from;
        }
    }
    *to = '\0';
}

static bool parse_line(char *p, struct cu__map *m)
{
    static const char deleted[] = " (deleted)";
    m->start = take_hex(&p);
    if (*p++ != '-')
        return false;
    m->limit = take_hex(&p);
    if (*p++ != ' ' || strlen(p) < 5)
        return false;
    m->is_readable = p[0] == 'r';
    m->is_exec = p[2] == 'x';
    p += 5;
    m->offset = take_hex(&p);
    p += *p == ' ';
    uint64_t major = take_hex(&p);
    p += *p == ':';
    m->dev = makedev((unsigned)major, (unsigned)take_hex(&p));
    m->inode = strtoull(p, &p, 10);
    while (*p == ' ')
        p++;
    m->path = p;
    size_t n = strlen(p);
    m->is_deleted = n >= sizeof deleted && strcmp(p + n - (sizeof deleted - 1), deleted) == 0;
    if (m->is_deleted)
        p[n - (sizeof deleted - 1)] = '\0';
    unescape(p);
    return m->start < m->limit;
}

int cu__maps_read(struct cu__maps *out)
{
    size_t n, lines = 0;
    memset(out, 0, sizeof *out);
    out->text = read_whole("/proc/self/maps", &n);
    if (!out->text)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        lines += out->text[i] == '\n';
    out->list = calloc(lines + 1, sizeof *out->list);
    if (!out->list) {
        cu__maps_free(out);
        return -ENOMEM;
    }
    char *p = out->text;
    for (size_t i = 0; i < lines; i++) {
        char *end = strchr(p, '\n');
        *end = '\0';
        if (parse_line(p, &out->list[out->n]))
            out->n++;
        p = end + 1;
    }
    return 0;
}

void cu__maps_free(struct cu__maps *m)
{
    free(m->list);
    free(m->text);
    memset(m, 0, sizeof *m);
}
