/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes the first inputs for fuzzing the reader, made by our own writer:
 *
 *     pprof_seeds DIRECTORY
 *
 * Each profile twice: as it is written (gzip), and unpacked, which is what mutates well.
 */
#include <copper/pprof.h>
#include <stdio.h>
#include <string.h>

#include "gunzip.h"
#include "pprof_bytes.h"

#define UNPACKED_MAX ((size_t)1 << 20)

static void add_header(struct cu_pprof *p, unsigned which)
{
    cu_pprof_sample_type(p, "samples", "count");
    if (which & 1)
        cu_pprof_sample_type(p, "cpu", "nanoseconds");
    cu_pprof_period(p, "cpu", "nanoseconds", 10000000);
    cu_pprof_time(p, 1700000000000000000, which);
    if (which & 2) {
        cu_pprof_comment(p, "a comment");
        cu_pprof_comment(p, "another");
        cu_pprof_default_sample_type(p, "samples");
        cu_pprof_doc_url(p, "http://localhost/");
        cu_pprof_drop_frames(p, "drop.*");
        cu_pprof_keep_frames(p, "keep.*");
    }
}

static struct cu_pprof *build(unsigned which)
{
    struct cu_pprof *p = cu_pprof_new();
    char name[32];
    if (!p)
        return NULL;
    add_header(p, which);
    if (which == 0) { /* nothing but an address */
        uint32_t bare = cu_pprof_location(p, 0, 1, NULL, 0);
        cu_pprof_sample(p, &(struct cu_pprof_sample){.locations = &bare,
                                                     .nlocations = 1,
                                                     .values = (const int64_t[]){1}});
    }
    uint32_t m = cu_pprof_mapping(p, &(struct cu_pprof_mapping){.start = 0x1000,
                                                                .limit = 0x2000,
                                                                .filename = "/bin/x",
                                                                .build_id = "ab12",
                                                                .has_functions = true});
    for (unsigned i = 0; i < 2 * which; i++) {
        snprintf(name, sizeof name, "function_%u", i);
        uint32_t f = cu_pprof_function(
            p, &(struct cu_pprof_function){.name = name, .filename = "x.c", .start_line = i});
        struct cu_pprof_line lines[] = {{f, i}, {1, 2}};
        uint32_t stack[] = {cu_pprof_location(p, m, 0x1000 + i, lines, 1 + i % 2), 1};
        struct cu_pprof_label labels[] = {{.key = "worker", .str = name},
                                          {.key = "bytes", .num = i, .unit = "bytes"}};
        cu_pprof_sample(p, &(struct cu_pprof_sample){.locations = stack,
                                                     .nlocations = 1 + i % 2,
                                                     .values = (const int64_t[]){i, -1},
                                                     .labels = labels,
                                                     .nlabels = i % 3});
    }
    return p;
}

static int save(const char *dir, unsigned which, const char *ending, const void *bytes, size_t n)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%u%s", dir, which, ending);
    FILE *f = fopen(path, "w");
    if (!f)
        return -1;
    size_t done = fwrite(bytes, 1, n, f);
    return fclose(f) || done != n ? -1 : 0;
}

int main(int argc, char **argv)
{
    for (unsigned which = 0; argc == 2 && which < 5; which++) {
        struct bytes packed = {0}, twice = {0};
        struct cu_pprof *p = build(which);
        uint8_t *plain;
        size_t n;
        const char *wrong;
        if (!p || cu_pprof_write(p, bytes_write, &packed) ||
            cu__gunzip(packed.at, packed.n, UNPACKED_MAX, &plain, &n, &wrong))
            return 1;
        bytes_gzip(&twice, plain, n / 2);
        bytes_gzip(&twice, plain + n / 2, n - n / 2);
        if (save(argv[1], which, ".gz", packed.at, packed.n) ||
            save(argv[1], which, ".two-members.gz", twice.at, twice.n) ||
            save(argv[1], which, ".pb", plain, n)) {
            perror(argv[1]);
            return 1;
        }
        free(plain);
        bytes_free(&packed);
        bytes_free(&twice);
        cu_pprof_free(p);
    }
    return argc == 2 ? 0 : 2;
}
