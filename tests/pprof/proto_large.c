/* SPDX-License-Identifier: Apache-2.0
 *
 * A million samples, some very deep, are written in the memory of one buffer and zlib's state: the
 * peak of resident memory while writing is held against that before it.
 */
#include <copper/pprof.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SAMPLES       1000000
#define DEPTH         24
#define DEEPEST       500000 /* locations of the one very deep sample */
#define GROWTH_MAX_KB 1024   /* zlib asks for a quarter of it */

/* A line of /proc/self/status, in KiB. */
static long status_kb(const char *name)
{
    char line[256];
    long kb = -1;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, name, strlen(name)) == 0)
            kb = strtol(line + strlen(name), NULL, 10);
    if (f)
        fclose(f);
    return kb;
}

/* Makes VmHWM start again from what is resident now. */
static int reset_peak(void)
{
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    int ok = fd >= 0 && write(fd, "5", 1) == 1;
    if (fd >= 0)
        close(fd);
    return ok;
}

static int add_samples(struct cu_pprof *p, const uint32_t *locations)
{
    static uint32_t stack[DEEPEST];
    uint64_t x = 88172645463325252u;
    for (int i = 0; i < SAMPLES; i++) {
        for (int k = 0; k < DEPTH; k++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            stack[k] = locations[x % 1000];
        }
        int64_t value = i;
        struct cu_pprof_sample s = {stack, DEPTH, &value, NULL, 0};
        int err = cu_pprof_sample(p, &s);
        if (err)
            return err;
    }
    for (int k = 0; k < DEEPEST; k++)
        stack[k] = locations[k % 1000];
    return cu_pprof_sample(
        p, &(struct cu_pprof_sample){stack, DEEPEST, (const int64_t[]){1}, NULL, 0});
}

static int count(void *ctx, const void *bytes, size_t n)
{
    (void)bytes;
    *(size_t *)ctx += n;
    return 0;
}

int main(void)
{
    uint32_t locations[1000];
    size_t written = 0;
    struct cu_pprof *p = cu_pprof_new();
    if (!p)
        return 1;
    cu_pprof_sample_type(p, "samples", "count");
    for (uint32_t i = 0; i < 1000; i++)
        locations[i] = cu_pprof_location(p, 0, 0x400000 + i, NULL, 0);
    int err = add_samples(p, locations);
    if (err || cu_pprof_nsamples(p) != SAMPLES + 1) {
        printf("FAIL: building: %d\n", err);
        return 1;
    }
    if (!reset_peak()) {
        printf("SKIP: this kernel does not reset VmHWM\n");
        return 77;
    }
    long before = status_kb("VmRSS:");
    err = cu_pprof_write(p, count, &written);
    long peak = status_kb("VmHWM:");
    printf("%d samples, resident %ld KiB, wrote %zu bytes, peak grew by %ld KiB\n", SAMPLES + 1,
           before, written, peak - before);
    cu_pprof_free(p);
    return err || before < 0 || written < 1000000 || peak - before > GROWTH_MAX_KB;
}
