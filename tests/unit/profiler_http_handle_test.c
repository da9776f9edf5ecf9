/* SPDX-License-Identifier: Apache-2.0
 *
 * cu_pprof_handle in a server of somebody else's: each callback is used as its contract says, a
 * client that leaves ends the wait, a writer that fails ends the answer.
 */
#include <copper/pprof.h>
#include <copper/profiler.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

struct server {
    int starts, status, writes_left; /* writes_left < 0: no limit */
    int gone_after;                  /* is_gone says yes from that call on; < 0: never */
    char type[64], extra[256];
    char *body;
    size_t n;
    const char *upload;
    size_t upload_left;
};

static void start(void *ctx, int status, const struct cu_http_header *headers, size_t n)
{
    struct server *s = ctx;
    s->starts++;
    s->status = status;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(headers[i].name, "Content-Type") == 0) {
            snprintf(s->type, sizeof(s->type), "%s", headers[i].value);
        } else {
            size_t used = strlen(s->extra);
            snprintf(s->extra + used, sizeof(s->extra) - used, "%s: %s\n", headers[i].name,
                     headers[i].value);
        }
    }
}

static int take(void *ctx, const void *bytes, size_t n)
{
    struct server *s = ctx;
    assert_int_equal(s->starts, 1);
    if (s->writes_left == 0) {
        return -1;
    }
    s->writes_left--;
    s->body = realloc(s->body, s->n + n + 1);
    memcpy(s->body + s->n, bytes, n);
    s->n += n;
    s->body[s->n] = '\0';
    return 0;
}

static bool is_gone(void *ctx)
{
    struct server *s = ctx;
    return s->gone_after >= 0 && s->gone_after-- == 0;
}

static int64_t upload(void *ctx, void *buf, size_t n)
{
    struct server *s = ctx;
    size_t piece = s->upload_left < 7 ? s->upload_left : 7; /* in small pieces */
    piece = piece < n ? piece : n;
    memcpy(buf, s->upload, piece);
    s->upload += piece;
    s->upload_left -= piece;
    return (int64_t)piece;
}

static int handle(struct server *s, const char *method, const char *path, const char *query)
{
    struct cu_http_request request = {.method = method, .path = path, .query = query};
    struct cu_http_writer writer = {
        .server = s, .start = start, .write = take, .is_gone = s->gone_after >= 0 ? is_gone : NULL};
    if (s->upload) {
        request.read = upload;
    }
    return cu_pprof_handle(&request, &writer);
}

#define SERVER                                                                                     \
    {                                                                                              \
        .writes_left = -1, .gone_after = -1                                                        \
    }

static void answers_profiles(void **state)
{
    static const char *const paths[] = {"/debug/pprof/goroutine", "/debug/pprof/threadcreate"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct server s = SERVER;
        struct cu_pprof *p = NULL;
        char error[128] = "";
        assert_int_equal(handle(&s, "GET", paths[i], NULL), 200);
        assert_string_equal(s.type, "application/octet-stream");
        assert_int_equal(cu_pprof_read(s.body, s.n, &p, error, sizeof(error)), 0);
        assert_true(cu_pprof_nsamples(p) >= 1);
        cu_pprof_free(p);
        free(s.body);
    }
}

static void answers_errors(void **state)
{
    static const struct {
        const char *method, *path, *query, *text;
        int status;
    } cases[] = {
        {"GET", "/debug/pprof/nosuch", NULL, "Unknown profile\n", 404},
        {"GET", "/", NULL, "404 page not found; profiles are under /debug/pprof/\n", 404},
        {"GET", "", NULL, "404 page not found; profiles are under /debug/pprof/\n", 404},
        {"POST", "/debug/pprof/goroutine", NULL, "Method Not Allowed\n", 405},
        {"GET", "/debug/pprof/goroutine", "seconds=-1",
         "invalid value for \"seconds\" - must be a positive integer\n", 400},
        {"GET", "/debug/pprof/profile", "seconds=100000",
         "seconds=100000 is over the limit of 3600\n", 400},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct server s = SERVER;
        assert_int_equal(handle(&s, cases[i].method, cases[i].path, cases[i].query),
                         cases[i].status);
        assert_string_equal(s.body, cases[i].text);
        assert_non_null(strstr(s.extra, "X-Go-Pprof: 1\n"));
        free(s.body);
    }
}

static void head_writes_nothing(void **state)
{
    static const char *const paths[] = {"/debug/pprof/",        "/debug/pprof/goroutine",
                                        "/debug/pprof/profile", "/debug/pprof/cmdline",
                                        "/debug/pprof/symbol",  "/debug/pprof/nosuch"};
    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct server s = SERVER;
        assert_true(handle(&s, "HEAD", paths[i], NULL) >= 200);
        assert_int_equal(s.starts, 1);
        assert_int_equal(s.n, 0);
    }
}

static void names_an_upload(void **state)
{
    char words[64], want[64];
    (void)state;
    snprintf(words, sizeof(words), "%p+0x1+zz", (void *)(uintptr_t)&cu_pprof_handle);
    snprintf(want, sizeof(want), "%p cu_pprof_handle\n", (void *)(uintptr_t)&cu_pprof_handle);
    struct server s = SERVER;
    s.upload = words;
    s.upload_left = strlen(words);
    assert_int_equal(handle(&s, "POST", "/debug/pprof/symbol", NULL), 200);
    assert_non_null(strstr(s.body, "num_symbols: 1\n"));
    assert_non_null(strstr(s.body, want));
    assert_null(strstr(s.body, "0x1 "));
    free(s.body);
}

static time_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

static void leaving_ends_the_wait(void **state)
{
    static const char *const paths[] = {"/debug/pprof/goroutine", "/debug/pprof/profile"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct server s = SERVER;
        time_t begin = now();
        s.gone_after = 3;
        handle(&s, "GET", paths[i], "seconds=600");
        assert_true(now() - begin < 60);
        free(s.body);
    }
}

static void a_failing_writer_ends_the_answer(void **state)
{
    (void)state;
    struct server s = SERVER;
    s.writes_left = 0;
    assert_true(handle(&s, "GET", "/debug/pprof/goroutine", NULL) < 0);
    assert_int_equal(s.status, 200);
    assert_int_equal(s.n, 0);
    struct server text = SERVER;
    text.writes_left = 0;
    assert_true(handle(&text, "GET", "/debug/pprof/goroutine", "debug=1") < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_profiles),      cmocka_unit_test(answers_errors),
        cmocka_unit_test(head_writes_nothing),   cmocka_unit_test(names_an_upload),
        cmocka_unit_test(leaving_ends_the_wait), cmocka_unit_test(a_failing_writer_ends_the_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
