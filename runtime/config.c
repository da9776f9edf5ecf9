/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what the environment and the machine allow: COPPER_MAXPROCS, COPPER_MAXTHREADS,
 * COPPER_MAXCOROUTINES, COPPER_HANDOFF, CPU
 * affinity, the cgroup's CPU quota.
 *
 * A value that is not a number in range is reported once, in one line, and the default is used: a
 * typing error in a variable must not keep a service down.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker.h"

/* The number in an environment variable, from 1 to max; fallback when unset or wrong. */
static uint32_t number_from_env(const char *name, uint32_t max, uint32_t fallback,
                                bool *is_reported)
{
    const char *text = getenv(name);
    if (text == NULL) {
        return fallback;
    }
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (end != text && *end == 0 && errno == 0 && value >= 1 && value <= (long)max) {
        return (uint32_t)value;
    }
    if (!__atomic_exchange_n(is_reported, true, __ATOMIC_RELAXED)) {
        fprintf(stderr, "copper: %s=%s is not a number from 1 to %u; using %u\n", name, text, max,
                fallback);
    }
    return fallback;
}

static uint32_t cpus_by_affinity(void)
{
    /* more CPUs than a cpu_set_t has bits make the call fail: then count what is online */
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0) {
        return (uint32_t)CPU_COUNT(&set);
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (uint32_t)online : 1;
}

/* The first line of a small file; false when there is none. */
static bool read_line(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t n = read(fd, text, size - 1);
    close(fd);
    if (n <= 0) {
        return false;
    }
    text[n] = 0;
    text[strcspn(text, "\n")] = 0;
    return true;
}

/* CPUs that quota / period allow, rounded up; UINT32_MAX for no limit. */
static uint32_t cpus_of_quota(long long quota, long long period)
{
    if (quota <= 0 || period <= 0) {
        return UINT32_MAX;
    }
    long long cpus = (quota + period - 1) / period;
    return cpus < UINT32_MAX ? (uint32_t)cpus : UINT32_MAX;
}

static uint32_t quota_v2(const char *directory)
{
    char path[PATH_MAX + 32], text[64];
    long long quota, period;
    snprintf(path, sizeof(path), "%s/cpu.max", directory);
    if (!read_line(path, text, sizeof(text)) || sscanf(text, "%lld %lld", &quota, &period) != 2) {
        return UINT32_MAX; /* "max 100000" is no limit */
    }
    return cpus_of_quota(quota, period);
}

static uint32_t quota_v1(const char *directory)
{
    char path[PATH_MAX + 32], quota[32], period[32];
    snprintf(path, sizeof(path), "%s/cpu.cfs_quota_us", directory);
    if (!read_line(path, quota, sizeof(quota))) {
        return UINT32_MAX;
    }
    snprintf(path, sizeof(path), "%s/cpu.cfs_period_us", directory);
    if (!read_line(path, period, sizeof(period))) {
        return UINT32_MAX;
    }
    return cpus_of_quota(atoll(quota), atoll(period));
}

/* The tightest limit from our group up to the root of the hierarchy mounted at `mount`. */
static uint32_t quota_upwards(const char *mount, const char *group,
                              uint32_t (*quota)(const char *directory))
{
    char path[PATH_MAX];
    uint32_t least = UINT32_MAX;
    if ((size_t)snprintf(path, sizeof(path), "%s%s", mount, group) >= sizeof(path)) {
        return UINT32_MAX;
    }
    for (;;) {
        uint32_t cpus = quota(path);
        least = cpus < least ? cpus : least;
        char *slash = strrchr(path, '/');
        if (slash == NULL || strlen(path) <= strlen(mount)) {
            return least;
        }
        *slash = 0;
    }
}

/* True when `controllers` ("cpu,cpuacct") names cpu. */
static bool names_cpu(const char *controllers)
{
    char copy[256];
    char *rest = copy;
    snprintf(copy, sizeof(copy), "%s", controllers);
    for (char *word; (word = strsep(&rest, ",")) != NULL;) {
        if (strcmp(word, "cpu") == 0) {
            return true;
        }
    }
    return false;
}

static uint32_t cpus_by_cgroup(void)
{
    char line[PATH_MAX];
    uint32_t least = UINT32_MAX;
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (file == NULL) {
        return least;
    }
    while (fgets(line, sizeof(line), file)) {
        line[strcspn(line, "\n")] = 0;
        char *rest = line, *number = strsep(&rest, ":");
        char *controllers = strsep(&rest, ":");
        if (number == NULL || controllers == NULL || rest == NULL) {
            continue;
        }
        uint32_t cpus = UINT32_MAX;
        if (*controllers == 0) {
            cpus = quota_upwards("/sys/fs/cgroup", rest, quota_v2);
        } else if (names_cpu(controllers)) {
            cpus = quota_upwards("/sys/fs/cgroup/cpu", rest, quota_v1);
        }
        least = cpus < least ? cpus : least;
    }
    fclose(file);
    return least;
}

uint32_t cu__config_procs(void)
{
    static bool is_reported;
    uint32_t cpus = cpus_by_affinity(), quota = cpus_by_cgroup();
    cpus = quota < cpus ? quota : cpus;
    cpus = cpus < 1 ? 1 : cpus > COPPER_PROCS_MAX ? COPPER_PROCS_MAX : cpus;
    return number_from_env("COPPER_MAXPROCS", COPPER_PROCS_MAX, cpus, &is_reported);
}

uint32_t cu__config_coroutines(void)
{
    static bool is_reported;
    return number_from_env("COPPER_MAXCOROUTINES", COPPER_COROUTINES_MAX, COPPER_COROUTINES_MAX,
                           &is_reported);
}

uint32_t cu__config_threads(void)
{
    static bool is_reported;
    return number_from_env("COPPER_MAXTHREADS", COPPER_THREADS_MAX, COPPER_THREADS_DEFAULT,
                           &is_reported);
}

bool cu__config_handoff(void)
{
    static bool is_reported;
    const char *text = getenv("COPPER_HANDOFF");
    if (text == NULL || strcmp(text, "1") == 0) {
        return true;
    }
    if (strcmp(text, "0") != 0 && !__atomic_exchange_n(&is_reported, true, __ATOMIC_RELAXED)) {
        fprintf(stderr, "copper: COPPER_HANDOFF=%s is neither 0 nor 1; using 1\n", text);
    }
    return strcmp(text, "0") != 0;
}
