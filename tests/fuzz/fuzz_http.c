/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: fuzz the request path of /debug/pprof: who may ask (cu__access_check), which answer
 * (cu_pprof_handle), and all parsers on the way.
 *
 * Design: an input is three bytes of switches, then a request as text:
 *
 *     GET /debug/pprof/goroutine?debug=1
 *     Host: localhost
 *
 *     body
 *
 * The profiles themselves come from fuzz_http_makers.c, for the makers know no HTTP. Time is made
 * up (clock_gettime and clock_nanosleep are renamed for these sources), so an hour's wait is over
 * at once. What a server relies on is checked: one start, no body to HEAD, headers of one line
 * each, errors in the form that clients show.
 */
#include "fuzz_http.h"

#include "http_access.h"
#include "routes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define HEADERS_MAX 16
#define HUGE_BODY   ((size_t)5 << 20)

struct fuzz_switches fuzz_switches;

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);          \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* --- time that passes by being waited for --------------------------------------------------- */

static int64_t now_ns;

int clock_gettime(clockid_t clock, struct timespec *ts)
{
    (void)clock;
    *ts = (struct timespec){now_ns / 1000000000, now_ns % 1000000000};
    return 0;
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *ts, struct timespec *left)
{
    (void)clock;
    (void)flags;
    (void)left;
    now_ns += ts->tv_sec * 1000000000 + ts->tv_nsec;
    return 0;
}

/* --- the server's side ---------------------------------------------------------------------- */

struct server {
    bool is_head;
    int starts, status;
    bool has_error_header;
    size_t written, budget; /* bytes until the client is gone */
    unsigned polls;         /* until is_gone says yes; 0: it never does */
    const char *body;
    size_t body_left, huge_left;
};

static void start(void *ctx, int status, const struct cu_http_header *headers, size_t n)
{
    struct server *s = ctx;
    s->starts++;
    s->status = status;
    REQUIRE(status >= 200 && status < 600);
    for (size_t i = 0; i < n; i++) {
        REQUIRE(!strpbrk(headers[i].name, "\r\n: ") && !strpbrk(headers[i].value, "\r\n"));
        s->has_error_header |= strcmp(headers[i].name, "X-Go-Pprof") == 0;
    }
}

static int write_body(void *ctx, const void *bytes, size_t n)
{
    struct server *s = ctx;
    REQUIRE(s->starts == 1 && !s->is_head && n > 0);
    const volatile char *at = bytes;
    (void)at[0];
    (void)at[n - 1];
    s->written += n;
    return s->written > s->budget ? -EPIPE : 0;
}

static bool is_gone(void *ctx)
{
    struct server *s = ctx;
    return s->polls && --s->polls == 0;
}

static int64_t read_body(void *ctx, void *buffer, size_t n)
{
    struct server *s = ctx;
    REQUIRE(n > 0);
    size_t *left = s->huge_left ? &s->huge_left : &s->body_left;
    if (*left == 0)
        return fuzz_switches.body_breaks ? -EPIPE : 0;
    if (n > *left)
        n = *left;
    if (fuzz_switches.body_trickles)
        n = 1;
    if (left == &s->huge_left) {
        memset(buffer, '+', n);
    } else {
        memcpy(buffer, s->body, n);
        s->body += n;
    }
    *left -= n;
    return (int64_t)n;
}

/* --- from bytes to a request ---------------------------------------------------------------- */

struct parsed {
    struct cu_http_request request;
    struct cu_http_header headers[HEADERS_MAX];
    const char *body;
};

/* Cuts the line at *at out of the text: ends it with a zero and moves *at behind it. */
static char *next_line(char **at)
{
    char *line = *at, *end = strchrnul(line, '\n');
    *at = *end ? end + 1 : end;
    *end = '\0';
    return line;
}

static void parse(char *text, struct parsed *out)
{
    char *line = next_line(&text);
    char *path = strchrnul(line, ' ');
    if (*path)
        *path++ = '\0';
    char *query = strchr(path, '?');
    if (query)
        *query++ = '\0';
    *out = (struct parsed){.request = {.method = line, .path = path, .query = query}};
    out->request.headers = out->headers;
    while (*text && *(line = next_line(&text)) && out->request.nheaders < HEADERS_MAX) {
        char *value = strchrnul(line, ':');
        if (*value)
            *value++ = '\0';
        value += strspn(value, " ");
        out->headers[out->request.nheaders++] = (struct cu_http_header){line, value};
    }
    out->body = text;
    if (!fuzz_switches.no_body)
        out->request.read = read_body;
}

/* --- who may ask ---------------------------------------------------------------------------- */

static int token_fd = -1;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char path[64];
    (void)argc;
    (void)argv;
    token_fd = memfd_create("token", MFD_CLOEXEC);
    REQUIRE(token_fd >= 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", token_fd);
    setenv("COPPER_TOKEN_FILE", path, 1);
    return 0;
}

/* The body serves as the token file. */
static void check_access(const struct parsed *p)
{
    static struct cu__access access;
    access = (struct cu__access){.host = "10.1.2.3", .is_loopback = fuzz_switches.is_loopback};
    if (fuzz_switches.has_token) {
        REQUIRE(ftruncate(token_fd, 0) == 0);
        REQUIRE(pwrite(token_fd, p->body, strlen(p->body), 0) >= 0);
        REQUIRE(fchmod(token_fd, fuzz_switches.token_is_public ? 0644 : 0600) == 0);
        int err = cu__access_read_token(&access);
        REQUIRE(err <= 0);
        REQUIRE(err || (access.token_length >= COPPER_TOKEN_MIN));
        if (fuzz_switches.token_is_public)
            REQUIRE(err == -EACCES);
        if (err)
            access.token_length = 0;
    }
    struct cu__refusal refusal = cu__access_check(&access, &p->request, fuzz_switches.http_1_1);
    REQUIRE(refusal.status == 0 || (refusal.status >= 400 && refusal.text));
    if (access.token_length && refusal.status == 0) {
        /* let in: then the token is in the request, in one form or the other */
        bool has_authorization = false;
        for (size_t i = 0; i < p->request.nheaders; i++)
            has_authorization |= strcasecmp(p->request.headers[i].name, "Authorization") == 0;
        REQUIRE(has_authorization);
    }
}

/* --- one input ------------------------------------------------------------------------------ */

static void read_switches(const uint8_t *data)
{
    unsigned bits = data[0] | (unsigned)data[1] << 8 | (unsigned)data[2] << 16;
    fuzz_switches = (struct fuzz_switches){
        .is_loopback = bits & 1,
        .has_token = bits >> 1 & 1,
        .token_is_public = (bits >> 2 & 7) == 7,
        .http_1_1 = bits >> 5 & 1,
        .no_body = (bits >> 6 & 3) == 3,
        .body_breaks = (bits >> 8 & 3) == 3,
        .body_trickles = bits >> 10 & 1,
        .body_is_huge = (bits >> 11 & 7) == 7,
        .client_leaves = (bits >> 14 & 3) == 3,
        .writing_fails = (bits >> 16 & 3) == 3,
        .maker = (enum fuzz_maker)(bits >> 18 & 7),
    };
}

static void handle(const struct parsed *p)
{
    struct server s = {
        .is_head = strcmp(p->request.method, "HEAD") == 0,
        .budget = fuzz_switches.writing_fails ? 100 : SIZE_MAX,
        .polls = fuzz_switches.client_leaves ? 3 : 0,
        .body = p->body,
        .body_left = strlen(p->body),
        .huge_left = fuzz_switches.body_is_huge ? HUGE_BODY : 0,
    };
    struct cu_http_writer writer = {&s, start, write_body, is_gone};
    if (s.huge_left)
        fuzz_switches.body_trickles = false;
    int64_t began = now_ns;
    bool waits = cu__request_waits(&p->request);
    int status = cu_pprof_handle(&p->request, &writer);
    REQUIRE(s.starts == 1);
    REQUIRE(fuzz_makers_open_windows() == 0);
    REQUIRE(status == s.status || status < 0);
    REQUIRE(s.status == 200 || s.status == 301 || s.has_error_header);
    /* only what is known to wait may wait, and never longer than the limit */
    REQUIRE(waits || now_ns == began);
    REQUIRE(now_ns - began <= (COPPER_SECONDS_MAX + 1) * (int64_t)1000000000);
    REQUIRE(!s.is_head || s.written == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct parsed p;
    if (size < 3)
        return 0;
    read_switches(data);
    char *text = malloc(size - 2);
    REQUIRE(text);
    memcpy(text, data + 3, size - 3);
    text[size - 3] = '\0';
    parse(text, &p);
    fuzz_makers_reset();
    check_access(&p);
    handle(&p);
    free(text);
    return 0;
}
