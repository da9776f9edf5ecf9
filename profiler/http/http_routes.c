/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: from a request to its answer: /debug/pprof/..., whatever server it came through.
 *
 * Design. profile_kinds.def is the table; a kind either answers by itself or is a list of stacks,
 * for which the parameters of all such profiles (?debug=, ?seconds=) are handled here once.
 * Statuses, texts and headers are Go's; numbers in them are written and read as in the "C" locale.
 *
 * Concurrency: no state; any number of requests at once.
 */
#include "routes.h"

#include "c_locale.h"
#include "custom.h"
#include "http_query.h"
#include "metrics.h"
#include "recorded.h"
#include "wall.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define COPPER_PROFILE_SECONDS_DEFAULT 30

/* ---- parameters --------------------------------------------------------------------------------
 */

bool cu__allow_seconds(struct cu__answer *a, int64_t seconds)
{
    if (seconds > COPPER_SECONDS_MAX) {
        cu__answer_error(a, 400, "seconds=%lld is over the limit of %d", (long long)seconds,
                         COPPER_SECONDS_MAX);
        return false;
    }
    return true;
}

int64_t cu__window_ns(struct cu__answer *a)
{
    const char *query = a->request->query;
    int64_t ms = cu__query_int(query, "ms"), seconds = cu__query_int(query, "seconds");
    if (ms > 0) {
        return cu__allow_seconds(a, ms / 1000) ? ms * 1000000 : 0;
    }
    if (seconds <= 0) {
        seconds = COPPER_PROFILE_SECONDS_DEFAULT;
    }
    return cu__allow_seconds(a, seconds) ? seconds * 1000000000 : 0;
}

/* ---- CPU ---------------------------------------------------------------------------------------
 */

static void send_profile(struct cu__answer *a, int64_t duration_ns, int hz)
{
    struct cu_pprof *p = NULL;
    char error[COPPER_ERROR_MAX] = "";
    int err = cu__cpu_profile(duration_ns, hz, cu__answer_is_gone, a, &p, error);
    if (err) {
        cu__answer_error(a, 500, "Could not enable CPU profiling: %s",
                         error[0] ? error : strerror(-err));
        return;
    }
    if (cu__answer_begin(a, COPPER_TYPE_BINARY, "profile")) {
        a->err = cu_pprof_write(p, cu__answer_write, a);
    }
    cu_pprof_free(p);
}

void cu__serve_profile(struct cu__answer *a)
{
    const char *query = a->request->query;
    char text[COPPER_QUERY_VALUE_MAX];
    int64_t hz = 0, duration_ns = cu__window_ns(a);
    if (duration_ns == 0) {
        return;
    }
    if (cu__query_value(query, "hz", text) && text[0] &&
        (!cu__parse_int(text, &hz) || hz < 1 || hz > COPPER_CPU_HZ_MAX)) {
        cu__answer_error(a, 400, "invalid value for \"hz\" - must be an integer from 1 to %d",
                         COPPER_CPU_HZ_MAX);
        return;
    }
    if (a->is_head) {
        cu__answer_begin(a, COPPER_TYPE_BINARY, "profile");
        return;
    }
    cu__window_begin();
    send_profile(a, duration_ns, (int)hz);
    cu__window_end();
}

/* ---- lists of stacks ---------------------------------------------------------------------------
 */

static void fail(struct cu__answer *a, int err)
{
    cu__answer_error(a, 500, "failed to collect profile: %s",
                     err == -ENOTSUP ? "there is no copper runtime in this program" : strerror(-err));
}

/* ?seconds= (or ?ms=, ours) of a list of stacks, in ns: 0 when absent; -1: the error was answered. */
static int64_t delta_ns(struct cu__answer *a, const struct cu__named_options *options)
{
    char text[COPPER_QUERY_VALUE_MAX];
    int64_t count = 0, unit_ns = 1000000000;
    const char *name = "seconds";
    if (!cu__query_value(a->request->query, name, text) || !text[0]) {
        name = "ms";
        unit_ns = 1000000;
        if (!cu__query_value(a->request->query, name, text) || !text[0]) {
            return 0;
        }
    }
    if (!cu__parse_int(text, &count) || count <= 0) {
        cu__answer_error(a, 400, "invalid value for \"%s\" - must be a positive integer", name);
        return -1;
    }
    if (!cu__allow_seconds(a, count / (1000000000 / unit_ns))) {
        return -1;
    }
    if (options->debug != 0) {
        cu__answer_error(a, 400, "seconds and debug params are incompatible");
        return -1;
    }
    return count * unit_ns;
}

static void serve_named(struct cu__answer *a, const struct cu__kind *kind)
{
    struct cu__named_options options = {
        .debug = cu__query_int(a->request->query, "debug"),
        .with_threads = cu__query_int(a->request->query, "threads") > 0,
        .is_detailed = cu__query_int(a->request->query, "detail") > 0,
        .is_total = cu__query_int(a->request->query, "total") > 0,
    };
    int64_t window_ns = delta_ns(a, &options);
    if (window_ns < 0) {
        return;
    }
    if (options.debug > 0 && !a->is_head) {
        int err = kind->text(&options, a);
        if (err) {
            fail(a, err);
        }
        return;
    }
    char filename[64];
    snprintf(filename, sizeof(filename), "%s%s", kind->name, window_ns > 0 ? "-delta" : "");
    if (a->is_head) {
        cu__answer_begin(a, options.debug > 0 ? COPPER_TYPE_TEXT : COPPER_TYPE_BINARY,
                         options.debug > 0 ? NULL : filename);
        return;
    }
    if (window_ns > 0) {
        cu__window_begin();
    }
    struct cu_pprof *p = NULL;
    int err = cu__kind_take(kind, &options, window_ns, cu__answer_is_gone, a, &p);
    if (err) {
        fail(a, err);
    } else {
        cu__answer_begin(a, COPPER_TYPE_BINARY, filename);
        a->err = cu_pprof_write(p, cu__answer_write, a);
        cu_pprof_free(p);
    }
    if (window_ns > 0) {
        cu__window_end();
    }
}

/* One that the program made: as Go's, with no difference over an interval. */
static void serve_custom(struct cu__answer *a, const struct cu_profile *p)
{
    struct cu__named_options options = {.debug = 0};
    int64_t window_ns = delta_ns(a, &options);
    bool is_text = cu__query_int(a->request->query, "debug") > 0;
    struct cu_pprof *profile = NULL;
    if (window_ns < 0) {
        return;
    }
    if (window_ns > 0) {
        cu__answer_error(a, 400, "\"seconds\" parameter is not supported for this profile type");
    } else if (a->is_head) {
        cu__answer_begin(a, is_text ? COPPER_TYPE_TEXT : COPPER_TYPE_BINARY,
                         is_text ? NULL : cu__custom_name(p));
    } else {
        int err = is_text ? cu__custom_text(p, a) : cu__custom_profile(p, &profile);
        if (err) {
            fail(a, err);
        } else if (!is_text) {
            cu__answer_begin(a, COPPER_TYPE_BINARY, cu__custom_name(p));
            a->err = cu_pprof_write(profile, cu__answer_write, a);
        }
        cu_pprof_free(profile);
    }
}

/* ---- dispatch ----------------------------------------------------------------------------------
 */

bool cu__request_waits(const struct cu_http_request *request)
{
    size_t n = strlen(COPPER_ROUTES_PREFIX);
    if (strcmp(request->path, COPPER_FGPROF_PATH) == 0) {
        return strcmp(request->method, "GET") == 0;
    }
    if (strcmp(request->method, "GET") != 0 ||
        strncmp(request->path, COPPER_ROUTES_PREFIX, n) != 0) {
        return false;
    }
    const struct cu__kind *kind = cu__kind_find(request->path + n);
    char text[COPPER_QUERY_VALUE_MAX];
    return kind && (kind->serve == cu__serve_profile || kind->serve == cu__serve_trace ||
                    kind->serve == cu__serve_wall ||
                    (kind->make && ((cu__query_value(request->query, "seconds", text) && text[0]) ||
                                    (cu__query_value(request->query, "ms", text) && text[0]))));
}

/* Answers 405 and returns false for a method that this path does not take. */
static bool allow_method(struct cu__answer *a, const char *name)
{
    const char *method = a->request->method;
    bool is_symbol = strcmp(name, "symbol") == 0;
    if (strcmp(method, "GET") == 0 || a->is_head || (is_symbol && strcmp(method, "POST") == 0)) {
        return true;
    }
    struct cu_http_header allow = {"Allow", is_symbol ? "GET, HEAD, POST" : "GET, HEAD"};
    cu__answer_error_with(a, 405, &allow, "Method Not Allowed");
    return false;
}

static void dispatch(struct cu__answer *a)
{
    const char *path = a->request->path;
    size_t n = strlen(COPPER_ROUTES_PREFIX);
    bool is_ours = strncmp(path, COPPER_ROUTES_PREFIX, n) == 0;
    const char *name = is_ours ? path + n : "";
    if (!allow_method(a, name)) {
        return;
    }
    if (strncmp(path, COPPER_ROUTES_PREFIX, n - 1) == 0 && path[n - 1] == '\0') {
        cu__answer_moved(a, COPPER_ROUTES_PREFIX);
        return;
    }
    if (strcmp(path, COPPER_FGPROF_PATH) == 0) {
        cu__serve_fgprof(a);
        return;
    }
    if (strcmp(path, COPPER_METRICS_PATH) == 0) {
        cu__serve_metrics(a);
        return;
    }
    if (!is_ours) {
        cu__answer_error(a, 404, "404 page not found; profiles are under " COPPER_ROUTES_PREFIX);
        return;
    }
    const struct cu__kind *kind = cu__kind_find(name);
    const struct cu_profile *custom = kind ? NULL : cu__custom_find(name);
    if (name[0] == '\0') {
        cu__serve_index(a);
    } else if (custom) {
        serve_custom(a, custom);
    } else if (!kind) {
        cu__answer_error(a, 404, "Unknown profile");
    } else if (kind->serve) {
        kind->serve(a);
    } else {
        serve_named(a, kind);
    }
}

int cu_pprof_handle(const struct cu_http_request *request, const struct cu_http_writer *writer)
{
    struct cu__answer a;
    locale_t programs = uselocale(cu__c_locale());
    cu__answer_init(&a, request, writer);
    dispatch(&a);
    int status = cu__answer_end(&a);
    uselocale(programs);
    return a.err < 0 ? a.err : status;
}
