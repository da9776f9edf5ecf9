/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: one answer to one HTTP request, independent of the server: status, Go's headers, a body
 * that is buffered and handed on, errors in the form that `go tool pprof` shows.
 *
 * Invariants: exactly one of begin and error takes effect; what comes after an answer was begun and
 * failed is dropped (the connection is gone).
 */
#ifndef COPPER_HTTP_ANSWER_H
#define COPPER_HTTP_ANSWER_H

#include <copper/profiler.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COPPER_ANSWER_BUFFER 8192

struct cu__answer {
    const struct cu_http_request *request;
    const struct cu_http_writer *writer;
    bool is_head;    /* headers only */
    bool is_started; /* status and headers are out */
    int status;
    int err;  /* first failure of the writer */
    size_t n; /* bytes in buffer */
    char buffer[COPPER_ANSWER_BUFFER];
};

void cu__answer_init(struct cu__answer *a, const struct cu_http_request *request,
                     const struct cu_http_writer *writer);

#define COPPER_TYPE_BINARY "application/octet-stream"
#define COPPER_TYPE_TEXT   "text/plain; charset=utf-8"
#define COPPER_TYPE_JSON   "application/json"
#define COPPER_TYPE_HTML   "text/html; charset=utf-8"

/* Starts a 200. filename: of an attachment, NULL: none. True when a body is wanted (not HEAD). */
bool cu__answer_begin(struct cu__answer *a, const char *type, const char *filename);

/* Body bytes; the first argument is a struct cu__answer, so that it fits cu_pprof_write. */
int cu__answer_write(void *answer, const void *bytes, size_t n);
__attribute__((format(printf, 2, 3))) void cu__answer_printf(struct cu__answer *a,
                                                             const char *format, ...);

/* Hands on what is buffered, for one who will write more only much later. */
void cu__answer_flush(struct cu__answer *a);

/* One line of text with the header X-Go-Pprof, which makes the client show it. Adds the newline. */
__attribute__((format(printf, 3, 4))) void cu__answer_error(struct cu__answer *a, int status,
                                                            const char *format, ...);
/* The same with one more header. */
void cu__answer_error_with(struct cu__answer *a, int status, const struct cu_http_header *extra,
                           const char *text);

/* Sends a redirect for good. */
void cu__answer_moved(struct cu__answer *a, const char *location);

/* Hands the rest of the body on; returns the status. */
int cu__answer_end(struct cu__answer *a);

/* Has the client hung up? Takes a struct cu__answer, so that it fits the profile makers. */
bool cu__answer_is_gone(void *answer);

#endif
