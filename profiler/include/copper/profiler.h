/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/profiler.h: serve profiles of this process over HTTP. To take them from C, see
 * copper/profile.h, which this header includes.
 *
 * Works in any process, with or without the coroutine runtime. Nothing runs (no thread, timer or
 * signal) before the first call that needs it.
 *
 *     int err = cu_pprof_serve("127.0.0.1:6060");     // then: go tool pprof http://127.0.0.1:6060
 *
 * or, in a program that has an HTTP server of its own, mount cu_pprof_handle.
 */
#ifndef COPPER_PROFILER_H
#define COPPER_PROFILER_H

#include <copper/profile.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Serves /debug/pprof/ at "HOST:PORT" (IPv4 literal; port 0: any free one) from threads of our own.
 * A host other than loopback needs COPPER_TOKEN_FILE. 0; -EINVAL (address malformed), -EADDRINUSE,
 * -EACCES (not loopback and no token; or set-user-id process), -EALREADY, -ENOTSUP (this process
 * defines mg_* itself), -ENOMEM. Also done at start-up for COPPER_HTTP=HOST:PORT, where a failure
 * is one line on stderr. From plain threads. */
int cu_pprof_serve(const char *address);
/* The address served, "127.0.0.1:41873", or NULL. */
const char *cu_pprof_address(void);
/* Stops serving; requests under way are cut. */
void cu_pprof_stop(void);

/* ---- our routes in somebody else's server ---------------------------------------------------- */

struct cu_http_header {
    const char *name, *value;
};

struct cu_http_request {
    const char *method;                   /* "GET", "HEAD", "POST" */
    const char *path;                     /* "/debug/pprof/profile", percent-decoded */
    const char *query;                    /* after '?', undecoded; NULL: none */
    const struct cu_http_header *headers; /* may be NULL */
    size_t nheaders;
    /* Reads the body: > 0 bytes, 0 at its end, < 0 error. NULL: no body. */
    int64_t (*read)(void *server, void *buf, size_t n);
};

/* The server's side of the answer. start is called once, then write any number of times. */
struct cu_http_writer {
    void *server; /* passed to all callbacks */
    void (*start)(void *server, int status, const struct cu_http_header *headers, size_t nheaders);
    /* 0, or < 0: the client is gone. n may be 0: more comes much later, so what is buffered should go */
    int (*write)(void *server, const void *bytes, size_t n);
    bool (*is_gone)(void *server); /* polled while waiting; NULL: assume the client stays */
};

/* Answers one request, blocking for as long as it asks for (?seconds=). Knows no socket; the caller
 * does access control. Thread-safe. Returns the status sent, or -errno when the answer broke off half
 * way: then the server must not end the body as if it were whole. */
int cu_pprof_handle(const struct cu_http_request *request, const struct cu_http_writer *writer);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
