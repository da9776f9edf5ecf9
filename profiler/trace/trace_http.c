/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: /debug/pprof/trace: an execution trace of the next seconds, or with flight=1 what the
 * flight recorder keeps. Parameters, headers and texts are Go's, except that a second trace at the
 * same time is no error, and that format=perfetto gives the same as JSON (trace_perfetto.h).
 *
 * Concurrency: each request is a client of the recorder of its own.
 */
#include "cpu_int.h"
#include "http_query.h"
#include "recorded.h"
#include "routes.h"
#include "trace_perfetto.h"
#include "trace_wire.h"
#include "trace_clients.h"

#include <copper/go.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COPPER_TRACE_STEP_NS 100000000 /* between looks whether the client is still there */

static void fail(struct cu__answer *a, int err)
{
    cu__answer_error(a, 500, "Could not enable tracing: %s",
                     err == -ENOTSUP ? "there is no copper runtime in this program"
                                     : strerror(-err));
}

/* As Go: what cannot be parsed, and what is not above zero, is one second. */
static double seconds_asked(const char *query)
{
    char text[COPPER_QUERY_VALUE_MAX], *end = text;
    double seconds = cu__query_value(query, "seconds", text) ? strtod(text, &end) : 0;
    return *end == '\0' && seconds > 0 ? seconds : 1;
}

/* The answer in one of the two forms. */
struct output {
    struct cu__answer *a;
    bool is_perfetto;
    struct cu__perfetto *perfetto; /* once begun */
};


static bool begin(struct output *o)
{
    const char *type = o->is_perfetto ? COPPER_TYPE_JSON : COPPER_TYPE_BINARY;
    if (!cu__answer_begin(o->a, type, o->is_perfetto ? "trace.json" : "trace")) {
        return false;
    }
    if (!o->is_perfetto) {
        return cu__answer_write(o->a, COPPER_WIRE_HEADER, COPPER_WIRE_HEADER_BYTES) == 0;
    }
    o->perfetto = cu__perfetto_new(cu__answer_write, o->a);
    o->a->err = o->perfetto ? o->a->err : -ENOMEM;
    return o->perfetto != NULL;
}

static int write_blob(struct output *o, const struct cu__blob *blob)
{
    return o->perfetto ? cu__perfetto_add(o->perfetto, blob->bytes, blob->n)
                       : cu__answer_write(o->a, blob->bytes, blob->n);
}

static void end(struct output *o)
{
    int err = o->perfetto && !o->a->err ? cu__perfetto_end(o->perfetto) : 0;
    o->a->err = o->a->err ? o->a->err : err;
    cu__perfetto_free(o->perfetto);
}

/* Hands on what there is within timeout_ns; < 0: the end, or a failure. */
static int pump(struct output *o, struct cu__trace_client *c, int64_t timeout_ns)
{
    struct cu__blob *blob;
    int got = cu__trace_next(c, timeout_ns, &blob);
    if (got == 1) {
        got = write_blob(o, blob);
        cu__answer_flush(o->a); /* whole parts: so that they are there if we are killed */
        cu__blob_drop(blob);
    }
    return got;
}

static void stream(struct output *o, struct cu__trace_client *c, int64_t until_ns)
{
    struct cu__answer *a = o->a;
    int err = 0;
    for (int64_t now_ns; err >= 0 && (now_ns = cu__now_ns()) < until_ns;) {
        int64_t left_ns = until_ns - now_ns;
        err = pump(o, c, left_ns < COPPER_TRACE_STEP_NS ? left_ns : COPPER_TRACE_STEP_NS);
        /* who has closed its side may still read: it gets what there is */
        if (cu__answer_is_gone(a) || cu__is_finishing()) {
            break;
        }
    }
    int failed = cu__trace_finish(c);
    while (err >= 0) {
        err = pump(o, c, 0);
    }
    if (failed || err != -EPIPE) {
        a->err = a->err ? a->err : (failed ? failed : err);
    }
}

static void serve_flight(struct output *o)
{
    struct cu__answer *a = o->a;
    struct cu__blob **blobs = malloc(COPPER_FLIGHT_BLOBS * sizeof(struct cu__blob *));
    int n = blobs ? cu__flight_take(blobs, COPPER_FLIGHT_BLOBS) : -ENOMEM;
    if (n == -ENOENT) {
        cu__answer_error(a, 404, "the flight recorder is off; set COPPER_FLIGHT=10s");
    } else if (n < 0) {
        fail(a, n);
    }
    bool goes_on = n >= 0 && begin(o);
    for (int i = 0; i < n; i++) {
        goes_on = goes_on && write_blob(o, blobs[i]) == 0;
        cu__blob_drop(blobs[i]);
    }
    free(blobs);
}

/* False: answered. */
static bool parse_format(struct cu__answer *a, bool *is_perfetto)
{
    char format[COPPER_QUERY_VALUE_MAX];
    bool is_given = cu__query_value(a->request->query, "format", format);
    *is_perfetto = is_given && strcmp(format, "perfetto") == 0;
    if (is_given && !*is_perfetto && strcmp(format, "go") != 0) {
        cu__answer_error(a, 400, "format=%s: there are go and perfetto", format);
        return false;
    }
    return true;
}

void cu__serve_trace(struct cu__answer *a)
{
    const char *query = a->request->query;
    struct output o = {.a = a};
    double seconds = seconds_asked(query);
    if (seconds > COPPER_SECONDS_MAX || isnan(seconds)) {
        cu__answer_error(a, 400, "seconds=%g is over the limit of %d", seconds, COPPER_SECONDS_MAX);
        return;
    }
    if (!parse_format(a, &o.is_perfetto)) {
        return;
    }
    if (a->is_head) {
        begin(&o);
        return;
    }
    if (cu__query_int(query, "flight") > 0) {
        serve_flight(&o);
        end(&o);
        return;
    }
    struct cu__trace_client *c;
    cu__window_begin();
    int err = cu__trace_join(NULL, NULL, &c);
    if (err) {
        fail(a, err);
    } else {
        cu__window_opened();
        if (begin(&o)) {
            stream(&o, c, cu__now_ns() + (int64_t)(seconds * 1e9));
        } else {
            cu__trace_finish(c);
        }
        cu__trace_leave(c);
    }
    end(&o);
    cu__window_end();
}
