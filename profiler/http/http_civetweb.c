/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: /debug/pprof over civetweb, fenced in. The only file that uses it.
 *
 * Design. Every request ends in on_request, before civetweb looks at it further, so none of its
 * file serving, CGI, CORS, upload or websocket code is ever reached. Access is checked there; the
 * answer is made on a thread of our pool, because civetweb's own have small stacks. We write status
 * line and headers ourselves: a body that fits the buffer goes out with its length, a longer one in
 * chunks (HTTP/1.0: until the connection closes). Connections are never kept alive, so that clients
 * that open a second one while the first is idle cost nothing.
 *
 * Of COPPER_HTTP_WORKERS workers at most COPPER_HTTP_WAITING wait for time to pass, and at most
 * COPPER_HTTP_SLOW are held by clients that read slowly; the others are always soon free.
 *
 * Concurrency: an exchange belongs to the worker and, while that waits for it, to one pool thread.
 * The slots are counters. Signals: civetweb ignores SIGPIPE for the whole process from each of its
 * threads; the action is put back when the last of them has said that it runs. All our threads
 * block all signals.
 */
#include "http_server.h"

#include "http_pool.h"
#include "profiles.h"
#include "routes.h"
#include "server_sockets.h"

#include <arpa/inet.h>
#include <civetweb.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>

#define COPPER_HTTP_BODY    32768 /* a longer body goes out in chunks */
#define COPPER_HTTP_HEAD    2048
#define COPPER_HTTP_PIECE   16384 /* bytes handed to the kernel at once */
#define COPPER_HTTP_FREE    65536 /* so much fits the kernel's buffers, whoever reads */
#define COPPER_HTTP_FAST_MS 200   /* a client that takes nothing for so long is a slow one */
#define COPPER_HTTP_STALL   25    /* ... and is given up after so many times that */
#define COPPER_START_SECS   10    /* for civetweb's threads to come up */
#define COPPER_STRING(x)    COPPER_STRING_(x)
#define COPPER_STRING_(x)   #x

struct cu__http_server {
    struct mg_context *context;
    struct cu__access access;
    struct cu__pool pool;
    uint16_t port;
    sem_t started;           /* posted by each of civetweb's threads */
    atomic_int waiting;      /* any: requests that wait for ?seconds= */
    atomic_int slow;         /* any: requests with a slow reader */
    atomic_bool is_stopping; /* any */
};

/* One request and its answer. */
struct exchange {
    struct cu__http_server *server;
    struct mg_connection *connection;
    const struct mg_request_info *info;
    struct cu_http_request request;
    struct cu__refusal refusal; /* status 0: handle it */
    int socket;                 /* -1: not looked for yet, -2: not found */
    int status;
    bool is_http_1_1;
    bool is_head_sent, is_chunked, is_broken, is_continued;
    bool has_wait_slot, has_slow_slot;
    size_t sent;
    size_t nhead, nbody;
    char head[COPPER_HTTP_HEAD];
    char body[COPPER_HTTP_BODY];
};

/* ---- slots -------------------------------------------------------------------------------------
 */

static bool take_slot(atomic_int *slots, int max)
{
    if (atomic_fetch_add_explicit(slots, 1, memory_order_relaxed) < max) {
        return true;
    }
    atomic_fetch_sub_explicit(slots, 1, memory_order_relaxed);
    return false;
}

static void release_slots(struct exchange *x)
{
    if (x->has_wait_slot) {
        atomic_fetch_sub_explicit(&x->server->waiting, 1, memory_order_relaxed);
    }
    if (x->has_slow_slot) {
        atomic_fetch_sub_explicit(&x->server->slow, 1, memory_order_relaxed);
    }
}

/* ---- sending -----------------------------------------------------------------------------------
 */

static int socket_of(struct exchange *x)
{
    if (x->socket == -1) {
        int fd = cu__connection_socket(x->info->remote_addr, (uint16_t)x->info->remote_port,
                                       (uint16_t)x->info->server_port);
        x->socket = fd >= 0 ? fd : -2;
    }
    return x->socket;
}

static bool is_stopping(const struct exchange *x)
{
    return atomic_load_explicit(&x->server->is_stopping, memory_order_relaxed);
}

/* Waits until the kernel takes more bytes. False: too slow, and too many are. */
static bool wait_writable(struct exchange *x)
{
    if (x->sent < COPPER_HTTP_FREE) {
        return true;
    }
    struct pollfd p = {.fd = socket_of(x), .events = POLLOUT};
    for (int i = 0; p.fd >= 0 && !is_stopping(x) && i < COPPER_HTTP_STALL; i++) {
        if (poll(&p, 1, COPPER_HTTP_FAST_MS) != 0) {
            return (p.revents & (POLLERR | POLLHUP)) == 0;
        }
        if (!x->has_wait_slot && !x->has_slow_slot) {
            x->has_slow_slot = take_slot(&x->server->slow, COPPER_HTTP_SLOW);
            if (!x->has_slow_slot) {
                return false;
            }
        }
    }
    return p.fd < 0;
}

static int push(struct exchange *x, const void *bytes, size_t n)
{
    const char *at = bytes;
    while (n > 0 && !x->is_broken) {
        size_t piece = n < COPPER_HTTP_PIECE ? n : COPPER_HTTP_PIECE;
        if (!wait_writable(x) || mg_write(x->connection, at, piece) != (int)piece) {
            x->is_broken = true;
        }
        x->sent += piece;
        at += piece;
        n -= piece;
    }
    return x->is_broken ? -EPIPE : 0;
}

__attribute__((format(printf, 2, 3))) static void add_head(struct exchange *x, const char *format,
                                                           ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(x->head + x->nhead, sizeof(x->head) - x->nhead, format, args);
    va_end(args);
    if (n > 0 && (size_t)n < sizeof(x->head) - x->nhead) {
        x->nhead += (size_t)n; /* a header that does not fit is left out whole */
    }
}

static const char *status_text(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 301:
        return "Moved Permanently";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 408:
        return "Request Timeout";
    case 413:
        return "Request Entity Too Large";
    case 503:
        return "Service Unavailable";
    default:
        return "Internal Server Error";
    }
}

static void start_answer(void *server, int status, const struct cu_http_header *headers,
                         size_t nheaders)
{
    struct exchange *x = server;
    char date[64];
    struct tm tm;
    time_t now = time(NULL);
    gmtime_r(&now, &tm);
    strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    x->status = status;
    x->nhead = 0;
    x->nbody = 0;
    add_head(x, "HTTP/1.1 %d %s\r\n", status, status_text(status));
    for (size_t i = 0; i < nheaders; i++) {
        if (!strpbrk(headers[i].value, "\r\n")) {
            add_head(x, "%s: %s\r\n", headers[i].name, headers[i].value);
        }
    }
    add_head(x, "Date: %s\r\nConnection: close\r\n", date);
}

/* Sends status and headers of a body of unknown length. */
static void begin_long_body(struct exchange *x)
{
    x->is_chunked = x->is_http_1_1;
    add_head(x, "%s\r\n", x->is_chunked ? "Transfer-Encoding: chunked\r\n" : "");
    x->is_head_sent = true;
    push(x, x->head, x->nhead);
}

static void push_body(struct exchange *x, const void *bytes, size_t n)
{
    char size[24];
    if (x->is_chunked) {
        push(x, size, (size_t)snprintf(size, sizeof(size), "%zx\r\n", n));
    }
    push(x, bytes, n);
    if (x->is_chunked) {
        push(x, "\r\n", 2);
    }
}

static int write_answer(void *server, const void *bytes, size_t n)
{
    struct exchange *x = server;
    if (n == 0) { /* what there is should go out now: more comes much later */
        if (!x->is_head_sent) {
            begin_long_body(x);
        }
        if (x->nbody > 0) {
            push_body(x, x->body, x->nbody);
            x->nbody = 0;
        }
        return x->is_broken ? -EPIPE : 0;
    }
    if (n <= sizeof(x->body) - x->nbody) {
        memcpy(x->body + x->nbody, bytes, n);
        x->nbody += n;
        return x->is_broken ? -EPIPE : 0;
    }
    if (!x->is_head_sent) {
        begin_long_body(x);
    }
    if (x->nbody > 0) {
        push_body(x, x->body, x->nbody);
        x->nbody = 0;
    }
    push_body(x, bytes, n);
    return x->is_broken ? -EPIPE : 0;
}

/* Sends what is left. result: of cu_pprof_handle; negative: the answer broke off. */
static void end_answer(struct exchange *x, int result)
{
    bool is_head = strcmp(x->request.method, "HEAD") == 0;
    if (result < 0) {
        return; /* the connection ends early, and so the client sees that something is missing */
    }
    if (x->is_head_sent) {
        if (x->nbody > 0) {
            push_body(x, x->body, x->nbody);
        }
        if (x->is_chunked) {
            push(x, "0\r\n\r\n", 5);
        }
        return;
    }
    if (is_head) {
        add_head(x, "\r\n");
    } else {
        add_head(x, "Content-Length: %zu\r\n\r\n", x->nbody);
    }
    push(x, x->head, x->nhead);
    if (!is_head) {
        push(x, x->body, x->nbody);
    }
}

/* ---- receiving ---------------------------------------------------------------------------------
 */

static int64_t read_request(void *server, void *buf, size_t n)
{
    struct exchange *x = server;
    if (!x->is_continued) {
        x->is_continued = true;
        const char *expect = mg_get_header(x->connection, "Expect");
        if (expect && strcasecmp(expect, "100-continue") == 0) {
            static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
            mg_write(x->connection, go_on, sizeof(go_on) - 1);
        }
    }
    int got = mg_read(x->connection, buf, n < INT32_MAX ? n : INT32_MAX);
    return got >= 0 ? got : -EPIPE;
}

static bool is_gone(void *server)
{
    struct exchange *x = server;
    if (is_stopping(x)) {
        return true;
    }
    int fd = socket_of(x);
    return fd >= 0 && cu__socket_is_gone(fd);
}

/* ---- one request -------------------------------------------------------------------------------
 */

/* Runs on a thread of the pool. */
static void handle_exchange(void *arg)
{
    struct exchange *x = arg;
    const struct cu_http_writer writer = {
        .server = x, .start = start_answer, .write = write_answer, .is_gone = is_gone};
    end_answer(x, cu_pprof_handle(&x->request, &writer));
}

static void refuse(struct exchange *x, const struct cu__refusal *refusal)
{
    struct cu_http_header headers[] = {
        {"Content-Type", COPPER_TYPE_TEXT},
        {"X-Content-Type-Options", "nosniff"},
        {"X-Go-Pprof", "1"},
        refusal->extra,
    };
    start_answer(x, refusal->status, headers, refusal->extra.name ? 4 : 3);
    write_answer(x, refusal->text, strlen(refusal->text));
    write_answer(x, "\n", 1);
    end_answer(x, 0);
}

static void answer(struct exchange *x)
{
    struct cu__refusal refusal = cu__access_check(&x->server->access, &x->request, x->is_http_1_1);
    if (refusal.status == 0 && cu__request_waits(&x->request)) {
        x->has_wait_slot = take_slot(&x->server->waiting, COPPER_HTTP_WAITING);
        if (!x->has_wait_slot) {
            refusal = (struct cu__refusal){
                .status = 503,
                .text = COPPER_STRING(
                    COPPER_HTTP_WAITING) " requests with seconds= are being "
                                         "served already; try again when one has ended"};
        }
    }
    if (refusal.status == 0 && cu__pool_run(&x->server->pool, handle_exchange, x) != 0) {
        refusal = (struct cu__refusal){.status = 503, .text = "no thread can be started"};
    }
    if (refusal.status != 0) {
        refuse(x, &refusal);
    }
    release_slots(x);
}

static int on_request(struct mg_connection *connection)
{
    const struct mg_request_info *info = mg_get_request_info(connection);
    struct cu_http_header headers[MG_MAX_HEADERS];
    struct exchange *x = malloc(sizeof(*x));
    if (!x) {
        return 500; /* nothing sent: the connection just closes */
    }
    memset(x, 0, offsetof(struct exchange, head));
    x->server = mg_get_user_context_data(connection);
    x->connection = connection;
    x->info = info;
    x->socket = -1;
    x->is_http_1_1 = info->http_version && strcmp(info->http_version, "1.0") != 0;
    size_t n = info->num_headers > 0 ? (size_t)info->num_headers : 0;
    for (size_t i = 0; i < n; i++) {
        headers[i] =
            (struct cu_http_header){info->http_headers[i].name, info->http_headers[i].value};
    }
    x->request = (struct cu_http_request){
        .method = info->request_method,
        .path = info->local_uri ? info->local_uri : "",
        .query = info->query_string,
        .headers = headers,
        .nheaders = n,
        .read = read_request,
    };
    answer(x);
    int status = x->status;
    free(x);
    return status > 0 ? status : 500;
}

/* What civetweb itself refuses: malformed or oversized requests. */
static int on_error(struct mg_connection *connection, int status, const char *text)
{
    char answer_text[512];
    const char *line = text && *text ? text : status_text(status);
    int n = snprintf(answer_text, sizeof(answer_text),
                     "HTTP/1.1 %d %s\r\nContent-Type: " COPPER_TYPE_TEXT "\r\n"
                     "X-Content-Type-Options: nosniff\r\nX-Go-Pprof: 1\r\nConnection: close\r\n"
                     "Content-Length: %zu\r\n\r\n%.200s\n",
                     status, status_text(status), strnlen(line, 200) + 1, line);
    if (n > 0 && (size_t)n < sizeof(answer_text)) {
        mg_write(connection, answer_text, (size_t)n);
    }
    return 0;
}

static int on_log(const struct mg_connection *connection, const char *text)
{
    (void)connection;
    (void)text;
    return 1; /* a guest in somebody's process writes nowhere */
}

static void *on_thread(const struct mg_context *context, int type)
{
    (void)type;
    struct cu__http_server *server = mg_get_user_data(context);
    cu__own_thread_begin("copper-http");
    sem_post(&server->started);
    return NULL;
}

/* ---- start and stop ----------------------------------------------------------------------------
 */

static struct mg_context *start_civetweb(struct cu__http_server *server, const char *address)
{
    struct mg_callbacks callbacks;
    const char *access = server->access.is_loopback ? "-0.0.0.0/0,+127.0.0.0/8" : "+0.0.0.0/0";
    /* clang-format off */
    const char *options[] = {
        "listening_ports", address,
        "num_threads", COPPER_STRING(COPPER_HTTP_WORKERS),
        "request_timeout_ms", COPPER_STRING(COPPER_HTTP_READ_MS),
        "enable_keep_alive", "no",
        "tcp_nodelay", "1",
        "access_control_list", access,
        /* what follows is never reached, and off nevertheless */
        "enable_directory_listing", "no",
        "cgi_pattern", "",
        "ssi_pattern", "",
        "access_control_allow_origin", "",
        "access_control_allow_methods", "",
        "access_control_allow_headers", "",
        "enable_auth_domain_check", "no",
        NULL,
    };
    /* clang-format on */
    memset(&callbacks, 0, sizeof(callbacks));
    callbacks.begin_request = on_request;
    callbacks.http_error = on_error;
    callbacks.log_message = on_log;
    callbacks.log_access = on_log;
    callbacks.init_thread = on_thread;
    mg_init_library(MG_FEATURES_DEFAULT);
    return mg_start(&callbacks, server, options);
}

/* Waits until each of civetweb's threads has set itself up. */
static void wait_for_threads(struct cu__http_server *server)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += COPPER_START_SECS;
    for (int i = 0; i < COPPER_HTTP_WORKERS + 1; i++) {
        while (sem_timedwait(&server->started, &until) != 0) {
            if (errno != EINTR) {
                return;
            }
        }
    }
}

/* Starts civetweb without leaving traces in the process's signals. */
static void start_quietly(struct cu__http_server *server, const char *address)
{
    sigset_t all, before;
    struct sigaction pipe_action;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    sigaction(SIGPIPE, NULL, &pipe_action);
    server->context = start_civetweb(server, address);
    if (server->context) {
        wait_for_threads(server);
    }
    sigaction(SIGPIPE, &pipe_action, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static int read_port(struct cu__http_server *server, uint16_t *port)
{
    struct mg_server_port ports[2];
    memset(ports, 0, sizeof(ports));
    if (mg_get_server_ports(server->context, 2, ports) < 1) {
        return -EIO;
    }
    *port = (uint16_t)ports[0].port;
    return 0;
}

int cu__http_start(const struct cu__access *access, uint32_t ip, uint16_t *port,
                   struct cu__http_server **out)
{
    char address[32];
    int err = cu__address_is_free(ip, *port);
    struct cu__http_server *server = err ? NULL : calloc(1, sizeof(*server));
    if (!server) {
        return err ? err : -ENOMEM;
    }
    server->access = *access;
    sem_init(&server->started, 0, 0);
    err = cu__pool_init(&server->pool, COPPER_HTTP_WORKERS);
    if (err) {
        free(server);
        return err;
    }
    snprintf(address, sizeof(address), "%u.%u.%u.%u:%u", ip >> 24, ip >> 16 & 255, ip >> 8 & 255,
             ip & 255, *port);
    start_quietly(server, address);
    if (!server->context) {
        err = cu__address_is_free(ip, *port); /* taken meanwhile? */
        err = err ? err : -EAGAIN;
    } else {
        err = read_port(server, port);
        server->port = err ? 0 : *port;
    }
    if (err) {
        cu__http_stop(server);
        return err;
    }
    *out = server;
    return 0;
}

void cu__http_stop(struct cu__http_server *server)
{
    atomic_store_explicit(&server->is_stopping, true, memory_order_relaxed);
    if (server->context) {
        /* the thread that accepts looks only every two seconds whether it is to end: wake it */
        int listening = server->port ? cu__listening_socket(server->port) : -1;
        if (listening >= 0) {
            shutdown(listening, SHUT_RDWR);
        }
        mg_stop(server->context);
    }
    cu__pool_end(&server->pool);
    sem_destroy(&server->started);
    free(server);
}
