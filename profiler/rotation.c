/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see rotation.h.
 *
 * Concurrency: no state. Several processes may trim one folder at once: a file that another has
 * removed meanwhile is no error.
 */
#include "rotation.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct entry {
    char *name;
    uint64_t bytes;
};

struct listing {
    struct entry *entries;
    size_t n, cap;
    uint64_t bytes;
};

void cu__rotation_stamp(int64_t wall_ms, char stamp[COPPER_STAMP + 1])
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    size_t n = strftime(stamp, COPPER_STAMP + 1, "%Y%m%dT%H%M%S", &tm);
    unsigned ms = (unsigned)(wall_ms % 1000);
    snprintf(stamp + n, COPPER_STAMP + 1 - n, ".%03uZ", ms % 1000);
}

int cu__rotation_make_folder(const char *folder)
{
    char path[PATH_MAX];
    size_t n = strlen(folder);
    if (n >= sizeof path) {
        return -ENAMETOOLONG;
    }
    memcpy(path, folder, n + 1);
    for (char *at = path + 1; *at; at++) {
        if (*at == '/') {
            *at = '\0';
            mkdir(path, 0777); /* one that fails makes the last one fail */
            *at = '/';
        }
    }
    return mkdir(path, 0777) == 0 || errno == EEXIST ? 0 : -errno;
}

/* Of the form of rotation.h? */
static bool is_ours(const char *name)
{
    static const char form[] = "00000000T000000.000Z-";
    for (size_t i = 0; i < sizeof form - 1; i++) {
        bool is_digit = name[i] >= '0' && name[i] <= '9';
        if (form[i] == '0' ? !is_digit : name[i] != form[i]) {
            return false;
        }
    }
    return strstr(name, ".pb.gz") != NULL;
}

static int add_entry(struct listing *l, int folder, const char *name)
{
    struct stat st;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode)) {
        return 0;
    }
    if (l->n == l->cap) {
        size_t cap = 2 * l->cap + 64;
        struct entry *grown = realloc(l->entries, cap * sizeof *grown);
        if (!grown) {
            return -ENOMEM;
        }
        l->entries = grown;
        l->cap = cap;
    }
    char *copy = strdup(name);
    if (!copy) {
        return -ENOMEM;
    }
    l->entries[l->n++] = (struct entry){copy, (uint64_t)st.st_size};
    l->bytes += (uint64_t)st.st_size;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

/* What there is in an open folder, oldest first. To be freed in either case. */
static int list(DIR *dir, struct listing *l)
{
    int err = 0;
    for (const struct dirent *d; !err && (d = readdir(dir));) {
        err = is_ours(d->d_name) ? add_entry(l, dirfd(dir), d->d_name) : 0;
    }
    if (l->n > 0) {
        qsort(l->entries, l->n, sizeof *l->entries, by_name);
    }
    return err;
}

int64_t cu__rotation_trim(const char *folder, uint64_t files, uint64_t bytes, const char *newest)
{
    struct listing l = {0};
    DIR *dir = opendir(folder);
    if (!dir) {
        return -errno;
    }
    int64_t removed = list(dir, &l);
    size_t left = l.n;
    for (size_t i = 0; i < l.n; i++) {
        const struct entry *e = &l.entries[i];
        bool is_over = removed >= 0 && (left > files || l.bytes > bytes);
        if (is_over && strcmp(e->name, newest) < 0) {
            removed += unlinkat(dirfd(dir), e->name, 0) == 0;
            left--;
            l.bytes -= e->bytes;
        }
        free(e->name);
    }
    free(l.entries);
    closedir(dir);
    return removed;
}
