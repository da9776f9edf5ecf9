/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: publish, withdraw and list the files that tell where processes serve; see discovery.h
 * for the format.
 *
 * Design. Directories are opened once, checked, and then used through their descriptor only, so
 * that nobody can swap them between check and use. Readers trust no file: a wrong owner, a wrong
 * format or a pid whose start time differs makes it invisible.
 *
 * Concurrency: no locks. Files are whole or absent (rename), removal is by name, and the name holds
 * a pid that only its owner writes.
 */
#include "discovery.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The pid that published; a forked child finds another one and leaves the file alone. */
static pid_t publisher;
static char published_dir[PATH_MAX];

uint64_t cu__process_start_ticks(pid_t pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0) {
        return 0;
    }
    text[n] = '\0';
    /* field 2, the name, may hold blanks and parentheses: count from the last ')' */
    char *at = strrchr(text, ')');
    for (int field = 2; at && field < 22; field++) {
        at = strchr(at + 1, ' ');
    }
    return at ? strtoull(at + 1, NULL, 10) : 0;
}

/* Opens a directory that nobody but owner (and root) can change. -errno when it is not such. */
static int open_private_dir(const char *path, uid_t owner)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    struct stat st;
    if (fstat(fd, &st) != 0 || st.st_uid != owner || (st.st_mode & 022) != 0) {
        close(fd);
        return -EPERM;
    }
    return fd;
}

/* Where this process publishes. The base of $XDG_RUNTIME_DIR must be private too. */
static void own_dir(char out[PATH_MAX])
{
    const char *xdg = secure_getenv("XDG_RUNTIME_DIR");
    if (xdg && xdg[0] == '/' && strlen(xdg) < PATH_MAX - 16) {
        int fd = open_private_dir(xdg, geteuid());
        if (fd >= 0) {
            close(fd);
            snprintf(out, PATH_MAX, "%s/copper", xdg);
            return;
        }
    }
    if (geteuid() == 0) {
        snprintf(out, PATH_MAX, "/run/copper");
    } else {
        snprintf(out, PATH_MAX, "/tmp/copper-%u", (unsigned)geteuid());
    }
}

static int open_own_dir(char path[PATH_MAX])
{
    own_dir(path);
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return -errno;
    }
    return open_private_dir(path, geteuid());
}

static int write_whole(int fd, const char *text, size_t n)
{
    while (n > 0) {
        ssize_t put = write(fd, text, n);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            return put < 0 ? -errno : -EIO;
        }
        text += put;
        n -= (size_t)put;
    }
    return 0;
}

static int format_entry(char *text, size_t cap, const char *address)
{
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    exe[n > 0 ? n : 0] = '\0';
    for (char *c = exe; *c; c++) {
        if (iscntrl((unsigned char)*c)) {
            *c = '?';
        }
    }
    int len = snprintf(text, cap, "copper %d\npid %d\nstart %llu\naddress %s\nexe %s\n",
                       COPPER_DISCOVERY_VERSION, (int)getpid(),
                       (unsigned long long)cu__process_start_ticks(getpid()), address, exe);
    return len > 0 && (size_t)len < cap ? len : -ENAMETOOLONG;
}

int cu__discovery_publish(const char *address)
{
    char text[COPPER_DISCOVERY_BYTES_MAX], name[32], temporary[40];
    int len = format_entry(text, sizeof(text), address);
    if (len < 0) {
        return len;
    }
    int dir = open_own_dir(published_dir);
    if (dir < 0) {
        return dir;
    }
    snprintf(name, sizeof(name), "%d", (int)getpid());
    snprintf(temporary, sizeof(temporary), ".%s.new", name);
    unlinkat(dir, temporary, 0);
    int err = 0;
    int fd = openat(dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        err = -errno;
    } else {
        err = write_whole(fd, text, (size_t)len);
        close(fd);
        if (!err && renameat(dir, temporary, dir, name) != 0) {
            err = -errno;
        }
        if (err) {
            unlinkat(dir, temporary, 0);
        } else {
            publisher = getpid();
        }
    }
    close(dir);
    return err;
}

void cu__discovery_withdraw(void)
{
    if (publisher != getpid()) {
        return;
    }
    publisher = 0;
    int dir = open_private_dir(published_dir, geteuid());
    if (dir >= 0) {
        char name[32];
        snprintf(name, sizeof(name), "%d", (int)getpid());
        unlinkat(dir, name, 0);
        close(dir);
    }
}

/* The value of "key value\n" in text, copied; false when absent or too long. */
static bool field(const char *text, const char *key, char *out, size_t cap)
{
    size_t klen = strlen(key);
    for (const char *line = text; *line;) {
        const char *end = strchrnul(line, '\n');
        if (strncmp(line, key, klen) == 0 && line[klen] == ' ') {
            size_t n = (size_t)(end - line) - klen - 1;
            if (n >= cap) {
                return false;
            }
            memcpy(out, line + klen + 1, n);
            out[n] = '\0';
            return true;
        }
        line = *end ? end + 1 : end;
    }
    return false;
}

/* Reads one file. 0; -ESRCH: its process is gone; another -errno: not a file of ours. */
static int read_entry(int dir, const char *name, struct cu__discovery_entry *out)
{
    char text[COPPER_DISCOVERY_BYTES_MAX + 1], number[32];
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    struct stat st;
    ssize_t n = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? read(fd, text, sizeof(text) - 1) : -1;
    close(fd);
    if (n <= 0 || n > COPPER_DISCOVERY_BYTES_MAX - 1) {
        return -EBADMSG;
    }
    text[n] = '\0';
    if (strncmp(text, "copper 1\n", 9) != 0 || !field(text, "pid", number, sizeof(number))) {
        return -EBADMSG;
    }
    out->pid = (pid_t)strtol(number, NULL, 10);
    if (out->pid <= 0 || out->pid != (pid_t)strtol(name, NULL, 10) ||
        !field(text, "start", number, sizeof(number)) ||
        !field(text, "address", out->address, sizeof(out->address)) ||
        !field(text, "exe", out->exe, sizeof(out->exe))) {
        return -EBADMSG;
    }
    out->start_ticks = strtoull(number, NULL, 10);
    return cu__process_start_ticks(out->pid) == out->start_ticks ? 0 : -ESRCH;
}

struct visitor {
    bool (*visit)(const struct cu__discovery_entry *entry, void *arg);
    void *arg;
    int count;
    bool is_done;
};

static void list_dir(const char *path, uid_t owner, struct visitor *v)
{
    int fd = open_private_dir(path, owner);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    struct cu__discovery_entry entry;
    for (struct dirent *d; !v->is_done && (d = readdir(dir)) != NULL;) {
        if (!isdigit((unsigned char)d->d_name[0])) {
            continue;
        }
        int err = read_entry(fd, d->d_name, &entry);
        if (err == -ESRCH) {
            unlinkat(fd, d->d_name, 0);
        } else if (err == 0) {
            v->count++;
            v->is_done = !v->visit(&entry, v->arg);
        }
    }
    closedir(dir);
}

/* Root sees everybody: directories below base whose name is prefix + uid (+ suffix). */
static void list_all_users(const char *base, const char *prefix, const char *suffix,
                           const char *own, struct visitor *v)
{
    DIR *dir = opendir(base);
    for (struct dirent *d; dir && !v->is_done && (d = readdir(dir)) != NULL;) {
        size_t n = strlen(prefix);
        if (strncmp(d->d_name, prefix, n) != 0 || !isdigit((unsigned char)d->d_name[n])) {
            continue;
        }
        uid_t uid = (uid_t)strtoul(d->d_name + n, NULL, 10);
        char path[PATH_MAX];
        snprintf(path, sizeof(path), "%s/%s%s", base, d->d_name, suffix);
        if (strcmp(path, own) != 0) {
            list_dir(path, uid, v);
        }
    }
    if (dir) {
        closedir(dir);
    }
}

int cu__discovery_each(bool (*visit)(const struct cu__discovery_entry *entry, void *arg), void *arg)
{
    struct visitor v = {.visit = visit, .arg = arg};
    uid_t uid = geteuid();
    char own[PATH_MAX], path[PATH_MAX];
    own_dir(own);
    list_dir(own, uid, &v);
    /* A service of the same user may have been started without (or with) XDG_RUNTIME_DIR. */
    if (uid == 0) {
        if (strcmp(own, "/run/copper") != 0) {
            list_dir("/run/copper", 0, &v);
        }
        list_all_users("/run/user", "", "/copper", own, &v);
        list_all_users("/tmp", "copper-", "", own, &v);
        return v.count;
    }
    snprintf(path, sizeof(path), "/run/user/%u/copper", (unsigned)uid);
    if (strcmp(own, path) != 0) {
        list_dir(path, uid, &v);
    }
    snprintf(path, sizeof(path), "/tmp/copper-%u", (unsigned)uid);
    if (strcmp(own, path) != 0) {
        list_dir(path, uid, &v);
    }
    return v.count;
}

struct search {
    pid_t pid;
    struct cu__discovery_entry *out;
    bool is_found;
};

static bool match_pid(const struct cu__discovery_entry *entry, void *arg)
{
    struct search *s = arg;
    if (entry->pid == s->pid) {
        *s->out = *entry;
        s->is_found = true;
    }
    return !s->is_found;
}

bool cu__discovery_find(pid_t pid, struct cu__discovery_entry *out)
{
    struct search s = {.pid = pid, .out = out};
    cu__discovery_each(match_pid, &s);
    return s.is_found;
}
