/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: one answer to one HTTP request; see http_answer.h.
 */
#include "http_answer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void cu__answer_init(struct cu__answer *a, const struct cu_http_request *request,
                     const struct cu_http_writer *writer)
{
    a->request = request;
    a->writer = writer;
    a->is_head = strcmp(request->method, "HEAD") == 0;
    a->is_started = false;
    a->status = 0;
    a->err = 0;
    a->n = 0;
}

static void start(struct cu__answer *a, int status, const struct cu_http_header *headers,
                  size_t nheaders)
{
    if (!a->is_started) {
        a->is_started = true;
        a->status = status;
        a->writer->start(a->writer->server, status, headers, nheaders);
    }
}

bool cu__answer_begin(struct cu__answer *a, const char *type, const char *filename)
{
    char disposition[128];
    struct cu_http_header headers[3];
    size_t n = 0;
    if (filename) {
        snprintf(disposition, sizeof(disposition), "attachment; filename=\"%s\"", filename);
        headers[n++] = (struct cu_http_header){"Content-Disposition", disposition};
    }
    headers[n++] = (struct cu_http_header){"Content-Type", type};
    headers[n++] = (struct cu_http_header){"X-Content-Type-Options", "nosniff"};
    start(a, 200, headers, n);
    return !a->is_head;
}

static void flush(struct cu__answer *a)
{
    if (a->n > 0 && a->err == 0 && !a->is_head) {
        a->err = a->writer->write(a->writer->server, a->buffer, a->n);
    }
    a->n = 0;
}

void cu__answer_flush(struct cu__answer *a)
{
    flush(a);
    if (a->err == 0 && !a->is_head) {
        a->err = a->writer->write(a->writer->server, "", 0);
    }
}

int cu__answer_write(void *answer, const void *bytes, size_t n)
{
    struct cu__answer *a = answer;
    if (n > sizeof(a->buffer) - a->n) {
        flush(a);
    }
    if (n > sizeof(a->buffer)) {
        if (a->err == 0 && !a->is_head) {
            a->err = a->writer->write(a->writer->server, bytes, n);
        }
    } else {
        memcpy(a->buffer + a->n, bytes, n);
        a->n += n;
    }
    return a->err < 0 ? -EPIPE : 0;
}

void cu__answer_printf(struct cu__answer *a, const char *format, ...)
{
    char line[4096];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    if (n > 0) {
        cu__answer_write(a, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
    }
}

void cu__answer_error_with(struct cu__answer *a, int status, const struct cu_http_header *extra,
                           const char *text)
{
    struct cu_http_header headers[4] = {
        {"Content-Type", COPPER_TYPE_TEXT},
        {"X-Content-Type-Options", "nosniff"},
        {"X-Go-Pprof", "1"},
    };
    size_t n = 3;
    if (extra) {
        headers[n++] = *extra;
    }
    if (a->is_started) {
        a->err = -EPROTO; /* too late to say it; what is not written shows the client a cut */
        return;
    }
    start(a, status, headers, n);
    cu__answer_write(a, text, strlen(text));
    cu__answer_write(a, "\n", 1);
}

void cu__answer_error(struct cu__answer *a, int status, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    cu__answer_error_with(a, status, NULL, text);
}

void cu__answer_moved(struct cu__answer *a, const char *location)
{
    struct cu_http_header headers[] = {{"Location", location}, {"Content-Type", COPPER_TYPE_HTML}};
    start(a, 301, headers, 2);
    cu__answer_printf(a, "<a href=\"/debug/pprof/\">Moved Permanently</a>.\n");
}

int cu__answer_end(struct cu__answer *a)
{
    flush(a);
    return a->status;
}

bool cu__answer_is_gone(void *answer)
{
    struct cu__answer *a = answer;
    return a->writer->is_gone && a->writer->is_gone(a->writer->server);
}
