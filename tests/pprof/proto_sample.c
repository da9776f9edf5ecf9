/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes one small profile that uses every feature of the format that copper writes, for judges:
 *
 *     proto_sample FILE [COPY]
 *
 * With COPY, reads FILE back and writes it again.
 */
#include <copper/pprof.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct cu_pprof *build(void)
{
    struct cu_pprof *p = cu_pprof_new();
    if (!p)
        return NULL;
    cu_pprof_sample_type(p, "samples", "count");
    cu_pprof_sample_type(p, "cpu", "nanoseconds");
    cu_pprof_period(p, "cpu", "nanoseconds", 10000000);
    cu_pprof_time(p, 1700000000000000000, 1000000000);
    cu_pprof_comment(p, "made by proto_sample");
    cu_pprof_default_sample_type(p, "cpu");
    cu_pprof_doc_url(p, "https://example.org/doc");
    uint32_t mapping = cu_pprof_mapping(p, &(struct cu_pprof_mapping){
                                               .start = 0x401000,
                                               .limit = 0x402000,
                                               .offset = 0x1000,
                                               .filename = "/bin/x",
                                               .build_id = "abcd",
                                           });
    cu_pprof_mapping_flags(p, mapping, true, false, false, false);
    uint32_t inlined = cu_pprof_function(
        p, &(struct cu_pprof_function){.name = "inl", .filename = "x.c", .start_line = 4});
    uint32_t outer = cu_pprof_function(
        p, &(struct cu_pprof_function){.name = "outer", .filename = "x.c", .start_line = 8});
    uint32_t entry = cu_pprof_function(
        p, &(struct cu_pprof_function){.name = "main", .filename = "x.c", .start_line = 18});
    uint32_t stack[] = {
        cu_pprof_location(p, mapping, 0x401010, (struct cu_pprof_line[]){{inlined, 5}, {outer, 9}},
                          2),
        cu_pprof_location(p, mapping, 0x40102f, &(struct cu_pprof_line){entry, 20}, 1),
    };
    struct cu_pprof_sample sample = {
        .locations = stack,
        .nlocations = 2,
        .values = (const int64_t[]){3, 30000000},
        .labels = (struct cu_pprof_label[]){{.key = "coro", .str = "w7"},
                                            {.key = "sz", .num = 4096, .unit = "bytes"}},
        .nlabels = 2,
    };
    cu_pprof_sample(p, &sample);
    /* the outer frame alone, with a zero that must not get lost */
    sample.locations = stack + 1;
    sample.nlocations = 1;
    sample.values = (const int64_t[]){1, 10000000};
    sample.labels = &(struct cu_pprof_label){.key = "queue", .num = 0};
    sample.nlabels = 1;
    cu_pprof_sample(p, &sample);
    return p;
}

/* Reads `from` and writes what was read to `to`. */
static int copy(const char *from, const char *to)
{
    struct cu_pprof *p;
    char error[256];
    int err = cu_pprof_read_file(from, &p, error, sizeof error);
    if (err) {
        fprintf(stderr, "proto_sample: %s: %s\n", from, error);
        return err;
    }
    err = cu_pprof_write_file(p, to);
    cu_pprof_free(p);
    return err;
}

int main(int argc, char **argv)
{
    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: proto_sample FILE [COPY]\n");
        return 2;
    }
    struct cu_pprof *p = build();
    int err = p ? cu_pprof_write_file(p, argv[1]) : -ENOMEM;
    cu_pprof_free(p);
    if (!err && argc == 3)
        err = copy(argv[1], argv[2]);
    if (err)
        fprintf(stderr, "proto_sample: %s: %s\n", argv[1], strerror(-err));
    return err ? 1 : 0;
}
