/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: /debug/pprof/trace: an execution trace of the next seconds, or with flight=1 what the
 * flight recorder keeps. Parameters, headers and texts are Go's, except that a second trace at the
 * same time is no error.
 *
 * Concurrency: each request is a client of the recorder of its own.
 */
#include "cpu_int.h"
#include "http_query.h"
#include "recorded.h"
#include "routes.h"
#include "trace_wire.h"
#include "trace_writer.h"

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

static bool begin(struct cu__answer *a)
{
    return cu__answer_begin(a, COPPER_TYPE_BINARY, "trace") &&
           cu__answer_write(a, COPPER_WIRE_HEADER, COPPER_WIRE_HEADER_BYTES) == 0;
}

/* Hands on what there is within timeout_ns; < 0: the end, or a failure. */
static int pump(struct cu__answer *a, struct cu__trace_client *c, int64_t timeout_ns)
{
    struct cu__blob *blob;
    int got = cu__trace_next(c, timeout_ns, &blob);
    if (got == 1) {
        got = cu__answer_write(a, blob->bytes, blob->n);
        cu__blob_drop(blob);
    }
    return got;
}

static void stream(struct cu__answer *a, struct cu__trace_client *c, int64_t until_ns)
{
    int err = 0;
    for (int64_t now_ns; err >= 0 && (now_ns = cu__now_ns()) < until_ns;) {
        int64_t left_ns = until_ns - now_ns;
        err = pump(a, c, left_ns < COPPER_TRACE_STEP_NS ? left_ns : COPPER_TRACE_STEP_NS);
        if (cu__answer_is_gone(a)) {
            err = -ECANCELED;
        }
        if (cu__is_finishing()) {
            break;
        }
    }
    int failed = cu__trace_finish(c);
    while (err >= 0) {
        err = pump(a, c, 0);
    }
    if (failed || err != -EPIPE) {
        a->err = a->err ? a->err : (failed ? failed : err);
    }
}

static void serve_flight(struct cu__answer *a)
{
    struct cu__blob **blobs = malloc(COPPER_FLIGHT_BLOBS * sizeof(struct cu__blob *));
    int n = blobs ? cu__flight_take(blobs, COPPER_FLIGHT_BLOBS) : -ENOMEM;
    if (n == -ENOENT) {
        cu__answer_error(a, 404, "the flight recorder is off; set COPPER_FLIGHT=10s");
    } else if (n < 0) {
        fail(a, n);
    }
    bool goes_on = n >= 0 && begin(a);
    for (int i = 0; i < n; i++) {
        goes_on = goes_on && cu__answer_write(a, blobs[i]->bytes, blobs[i]->n) == 0;
        cu__blob_drop(blobs[i]);
    }
    free(blobs);
}

void cu__serve_trace(struct cu__answer *a)
{
    const char *query = a->request->query;
    double seconds = seconds_asked(query);
    if (seconds > COPPER_SECONDS_MAX || isnan(seconds)) {
        cu__answer_error(a, 400, "seconds=%g is over the limit of %d", seconds, COPPER_SECONDS_MAX);
        return;
    }
    if (a->is_head) {
        cu__answer_begin(a, COPPER_TYPE_BINARY, "trace");
        return;
    }
    if (cu__query_int(query, "flight") > 0) {
        serve_flight(a);
        return;
    }
    struct cu__trace_client *c;
    cu__window_begin();
    int err = cu__trace_join(NULL, NULL, &c);
    if (err) {
        fail(a, err);
    } else {
        cu__window_opened();
        if (begin(a)) {
            stream(a, c, cu__now_ns() + (int64_t)(seconds * 1e9));
        } else {
            cu__trace_finish(c);
        }
        cu__trace_leave(c);
    }
    cu__window_end();
}
