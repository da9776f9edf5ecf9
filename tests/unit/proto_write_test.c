/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing profiles: known bytes, long samples in pieces, errors of the receiver, files.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <copper/pprof.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pprof_bytes.h"

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/copper_proto_XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static const char *in_dir(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static int remove_dir(void **state)
{
    (void)state;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.')
            unlink(in_dir(e->d_name));
    if (d)
        closedir(d);
    return rmdir(dir);
}

static size_t files_in_dir(void)
{
    size_t n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static struct cu_pprof *small_profile(void)
{
    struct cu_pprof *p = cu_pprof_new();
    cu_pprof_sample_type(p, "n", "count");
    cu_pprof_period(p, "n", "count", 1);
    cu_pprof_time(p, 300, -1);
    uint32_t m = cu_pprof_mapping(
        p, &(struct cu_pprof_mapping){.start = 0x1000, .limit = 0x2000, .filename = "x"});
    uint32_t f = cu_pprof_function(p, &(struct cu_pprof_function){.name = "f"});
    uint32_t l = cu_pprof_location(p, m, 0x1234, &(struct cu_pprof_line){f, 7}, 1);
    cu_pprof_sample(
        p, &(struct cu_pprof_sample){.locations = &l,
                                     .nlocations = 1,
                                     .values = (const int64_t[]){-2},
                                     .labels = &(struct cu_pprof_label){.key = "k", .str = "v"},
                                     .nlabels = 1});
    cu_pprof_comment(p, "hi");
    return p;
}

/* A profile of many samples that gzip cannot make small. */
static struct cu_pprof *big_profile(void)
{
    struct cu_pprof *p = cu_pprof_new();
    uint64_t x = 88172645463325252u;
    cu_pprof_sample_type(p, "n", "count");
    for (int i = 0; i < 50000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        uint32_t l = cu_pprof_location(p, 0, x, NULL, 0);
        cu_pprof_sample(p, &(struct cu_pprof_sample){
                               .locations = &l, .nlocations = 1, .values = (const int64_t[]){1}});
    }
    return p;
}

/* Field by field, worked out by hand from the format; gzip of equal bytes is equal bytes. */
static void known_bytes(void **state)
{
    (void)state;
    struct bytes plain = {0}, want = {0}, have = {0};
    bytes_hex(&plain, "0a0408011002"             /* sample type: n, count */
                      "1215"                     /* sample, 21 bytes */
                      "0a0101"                   /* ... location 1, packed */
                      "120afeffffffffffffffff01" /* ... value -2, packed */
                      "1a0408051006"             /* ... label: k = v */
                      "1a0a08011080201880402803" /* mapping 1: 0x1000, 0x2000, x */
                      "220d0801100118b424"       /* location 1: mapping 1, 0x1234 */
                      "220408011007"             /* ... function 1, line 7 */
                      "2a06080110041804"         /* function 1: f */
                      "3200"
                      "32016e"
                      "3205636f756e74" /* "", n, count */
                      "320178"
                      "320166" /* x, f */
                      "32016b"
                      "320176"
                      "32026869"               /* k, v, hi */
                      "48ac02"                 /* time 300 */
                      "50ffffffffffffffffff01" /* duration -1 */
                      "5a0408011002"
                      "6001"     /* period type n, count; period 1 */
                      "6a0107"); /* comment: hi */
    bytes_gzip(&want, plain.at, plain.n);
    struct cu_pprof *p = small_profile();
    assert_int_equal(cu_pprof_write(p, bytes_write, &have), 0);
    assert_int_equal(have.n, want.n);
    assert_memory_equal(have.at, want.at, want.n);
    cu_pprof_free(p);
    bytes_free(&plain);
    bytes_free(&want);
    bytes_free(&have);
}

/* An empty profile is a valid message all the same: one string and a period type. */
static void empty_profile(void **state)
{
    (void)state;
    struct bytes want = {0}, have = {0};
    struct cu_pprof *p = cu_pprof_new();
    bytes_gzip(&want, "\x32\x00\x5a\x00", 4);
    assert_int_equal(cu_pprof_write(p, bytes_write, &have), 0);
    assert_int_equal(have.n, want.n);
    assert_memory_equal(have.at, want.at, want.n);
    cu_pprof_free(p);
    bytes_free(&want);
    bytes_free(&have);
}

/* More locations, values, labels, lines and comments than fit in one piece. */
static void long_things_survive(void **state)
{
    (void)state;
    enum { TYPES = 600, DEPTH = 3000, LABELS = 150, LINES = 200, COMMENTS = 700 };
    static struct cu_pprof_line lines[LINES];
    static struct cu_pprof_label labels[LABELS];
    static uint32_t stack[DEPTH];
    static int64_t values[TYPES];
    static char texts[COMMENTS][16], huge[100000];
    struct cu_pprof *p = cu_pprof_new(), *back;
    for (int i = 0; i < COMMENTS; i++) {
        snprintf(texts[i], sizeof texts[i], "text %d", i);
        cu_pprof_comment(p, texts[i]);
    }
    for (int i = 0; i < TYPES; i++) {
        cu_pprof_sample_type(p, texts[i], "count");
        values[i] = INT64_MIN + i;
    }
    for (int i = 0; i < LINES; i++) {
        lines[i].function = cu_pprof_function(p, &(struct cu_pprof_function){.name = texts[i]});
        lines[i].line = INT64_MAX - i;
    }
    for (uint32_t i = 0; i < DEPTH; i++)
        stack[i] = cu_pprof_location(p, 0, UINT64_MAX - i, lines, i % LINES);
    for (int i = 0; i < LABELS; i++)
        labels[i] = (struct cu_pprof_label){.key = texts[i], .num = INT64_MIN, .unit = texts[i]};
    struct cu_pprof_sample s = {stack, DEPTH, values, labels, LABELS};
    assert_int_equal(cu_pprof_sample(p, &s), 0);
    memset(huge, 'h', sizeof huge - 1);
    cu_pprof_doc_url(p, huge);

    struct bytes first = {0}, second = {0};
    char error[128];
    assert_int_equal(cu_pprof_write(p, bytes_write, &first), 0);
    assert_int_equal(cu_pprof_read(first.at, first.n, &back, error, sizeof error), 0);
    assert_int_equal(cu_pprof_write(back, bytes_write, &second), 0);
    static struct cu_pprof_label seen[LABELS];
    assert_int_equal(cu_pprof_sample_at(back, 0, &s, seen, LABELS), LABELS);
    assert_int_equal(s.nlocations, DEPTH);
    assert_memory_equal(s.locations, stack, sizeof stack);
    assert_memory_equal(s.values, values, sizeof values);
    for (int i = 0; i < LABELS; i++)
        assert_string_equal(seen[i].key, texts[i]);
    for (uint32_t i = 0; i < DEPTH; i++) {
        uint32_t mapping;
        uint64_t address;
        const struct cu_pprof_line *line;
        size_t n;
        assert_true(cu_pprof_location_at(back, stack[i], &mapping, &address, &line, &n));
        assert_int_equal(address, UINT64_MAX - i);
        assert_int_equal(n, i % LINES);
        for (size_t k = 0; k < n; k++)
            assert_int_equal(line[k].line, lines[k].line);
    }
    assert_int_equal(cu_pprof_ncomments(back), COMMENTS);
    assert_string_equal(cu_pprof_comment_at(back, COMMENTS - 1), texts[COMMENTS - 1]);
    assert_int_equal(first.n, second.n);
    assert_memory_equal(first.at, second.at, first.n);
    cu_pprof_free(p);
    cu_pprof_free(back);
    bytes_free(&first);
    bytes_free(&second);
}

struct stopper {
    size_t budget;
    int calls_after;
};

static int stop_later(void *ctx, const void *bytes, size_t n)
{
    struct stopper *s = ctx;
    (void)bytes;
    if (s->budget == 0)
        s->calls_after++;
    if (n <= s->budget) {
        s->budget -= n;
        return 0;
    }
    s->budget = 0;
    return -ECONNRESET;
}

static void receiver_stops(void **state)
{
    (void)state;
    struct cu_pprof *p = big_profile();
    for (size_t budget = 0; budget < 200000; budget += 40000) {
        struct stopper s = {budget + 1, 0};
        assert_int_equal(cu_pprof_write(p, stop_later, &s), -ECONNRESET);
        assert_int_equal(s.calls_after, 0);
    }
    cu_pprof_free(p);
}

static void sticky_error_is_written_nowhere(void **state)
{
    (void)state;
    struct bytes have = {0};
    struct cu_pprof *p = small_profile();
    cu_pprof_location(p, 99, 1, NULL, 0);
    assert_int_equal(cu_pprof_write(p, bytes_write, &have), -EINVAL);
    assert_int_equal(have.n, 0);
    assert_int_equal(cu_pprof_write_file(p, in_dir("bad")), -EINVAL);
    assert_int_equal(files_in_dir(), 0);
    cu_pprof_free(p);
}

static void file_is_replaced_whole(void **state)
{
    (void)state;
    struct cu_pprof *p = small_profile(), *back;
    char error[128];
    for (int i = 0; i < 2; i++)
        assert_int_equal(cu_pprof_write_file(p, in_dir("profile")), 0);
    assert_int_equal(files_in_dir(), 1);
    assert_int_equal(cu_pprof_read_file(in_dir("profile"), &back, error, sizeof error), 0);
    assert_int_equal(cu_pprof_nsamples(back), 1);
    cu_pprof_free(back);
    assert_int_equal(cu_pprof_write_file(p, in_dir("no/such")), -ENOENT);
    assert_int_equal(cu_pprof_write_file(p, dir), -EISDIR);
    assert_int_equal(cu_pprof_read_file(in_dir("nothing"), &back, error, sizeof error), -ENOENT);
    assert_string_equal(error, "No such file or directory");
    assert_null(back);
    assert_int_equal(cu_pprof_read_file(dir, &back, error, sizeof error), -EISDIR);
    unlink(in_dir("profile"));
    cu_pprof_free(p);
}

static void full_disk(void **state)
{
    (void)state;
    struct cu_pprof *p = small_profile();
    assert_int_equal(cu_pprof_write_file(p, "/dev/full"), -ENOSPC);
    assert_int_equal(access("/dev/full", W_OK), 0);
    cu_pprof_free(p);
}

/* A file that may not grow is the disk that is full in the middle. In a child: the limit stays. */
static void disk_full_in_the_middle(void **state)
{
    (void)state;
    struct cu_pprof *small = small_profile(), *big = big_profile(), *back;
    char error[128];
    int status;
    assert_int_equal(cu_pprof_write_file(small, in_dir("profile")), 0);
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){100000, 100000});
        _exit(cu_pprof_write_file(big, in_dir("profile")) == -EFBIG ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(files_in_dir(), 1);
    assert_int_equal(cu_pprof_read_file(in_dir("profile"), &back, error, sizeof error), 0);
    assert_int_equal(cu_pprof_nsamples(back), 1);
    cu_pprof_free(back);
    unlink(in_dir("profile"));
    cu_pprof_free(small);
    cu_pprof_free(big);
}

/* What is there and is no file is written through, never replaced. */
static void pipe_is_written_through(void **state)
{
    (void)state;
    struct cu_pprof *p = small_profile(), *back;
    char error[128];
    int status;
    assert_int_equal(mkfifo(in_dir("pipe"), 0600), 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(cu_pprof_write_file(p, in_dir("pipe")) ? 1 : 0);
    assert_int_equal(cu_pprof_read_file(in_dir("pipe"), &back, error, sizeof error), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(cu_pprof_nsamples(back), 1);
    struct stat st;
    assert_int_equal(stat(in_dir("pipe"), &st), 0);
    assert_true(S_ISFIFO(st.st_mode));
    unlink(in_dir("pipe"));
    cu_pprof_free(p);
    cu_pprof_free(back);
}

static void gzip_without_a_stream(void **state)
{
    (void)state;
    assert_int_equal(cu_gzip_write(NULL, "x", 1), -ENOMEM);
    assert_int_equal(cu_gzip_close(NULL), -ENOMEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_bytes),
        cmocka_unit_test(empty_profile),
        cmocka_unit_test(long_things_survive),
        cmocka_unit_test(receiver_stops),
        cmocka_unit_test(sticky_error_is_written_nowhere),
        cmocka_unit_test(file_is_replaced_whole),
        cmocka_unit_test(full_disk),
        cmocka_unit_test(disk_full_in_the_middle),
        cmocka_unit_test(pipe_is_written_through),
        cmocka_unit_test(gzip_without_a_stream),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
