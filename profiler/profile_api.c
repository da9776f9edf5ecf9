/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: copper/profile.h but for the program's own profiles (custom.c) and the rates: CPU
 * profiles with a start and a stop, and any profile by name, to a file, a descriptor, memory or a
 * function.
 *
 * Design. A destination is opened before anything is measured, so that nobody waits for what cannot
 * be written. A binary profile is made first and then written; one of cpu_stop outlives a failing
 * write. A text is written as it is made, through an answer whose server is the destination.
 *
 * Concurrency: no state; any number of calls at once.
 */
#include "custom.h"
#include "http_answer.h"
#include "kinds.h"
#include "routes.h"
#include "waiting.h"
#include "wall.h"

#include <copper/pprof.h>
#include <copper/profile.h>
#include <copper/trace.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

/* ---- destinations ---------------------------------------------------------------------------- */

struct target {
    struct cu_profile_to to;
    struct cu_pprof_file *file;
    char *bytes; /* of memory, not given to the caller yet */
    size_t n, cap;
};

static int to_fd(void *target, const void *bytes, size_t n)
{
    const struct target *t = target;
    for (const char *at = bytes; n > 0;) {
        ssize_t done = write(t->to.fd, at, n);
        if (done < 0 && errno != EINTR) {
            return -errno;
        }
        at += done > 0 ? done : 0;
        n -= done > 0 ? (size_t)done : 0;
    }
    return 0;
}

static int to_memory(void *target, const void *bytes, size_t n)
{
    struct target *t = target;
    if (n > t->cap - t->n) {
        size_t cap = 2 * t->cap + n + 4096;
        char *grown = realloc(t->bytes, cap);
        if (!grown) {
            return -ENOMEM;
        }
        t->bytes = grown;
        t->cap = cap;
    }
    memcpy(t->bytes + t->n, bytes, n);
    t->n += n;
    return 0;
}

/* 0, and what to write with; or -errno. */
static int open_target(struct target *t, struct cu_profile_to to, cu_pprof_write_fn **write,
                       void **ctx)
{
    *t = (struct target){.to = to};
    *ctx = t;
    if (to.path) {
        int err = cu_pprof_file_open(to.path, true, &t->file);
        *write = cu_pprof_file_write;
        *ctx = t->file;
        return err;
    }
    if (to.bytes) {
        *to.bytes = NULL;
        *to.nbytes = 0;
        *write = to_memory;
    } else if (to.write) {
        *write = to.write;
        *ctx = to.ctx;
    } else {
        *write = to_fd;
    }
    return 0;
}

/* err: of what was written; returned, or what fails here. */
static int close_target(struct target *t, int err)
{
    if (t->file) {
        return cu_pprof_file_close(t->file, err);
    }
    if (t->to.bytes && !err) {
        *t->to.bytes = t->bytes;
        *t->to.nbytes = t->n;
    } else {
        free(t->bytes);
    }
    return err;
}

static int write_profile(const struct cu_pprof *p, struct cu_profile_to to)
{
    struct target t;
    cu_pprof_write_fn *write;
    void *ctx;
    int err = open_target(&t, to, &write, &ctx);
    return err ? err : close_target(&t, cu_pprof_write(p, write, ctx));
}

/* ---- CPU ------------------------------------------------------------------------------------- */

struct cu_cpu_profile {
    struct cu__cpu_window *window; /* NULL: it has ended */
    struct cu_pprof *profile;      /* ... with this */
    int err;                       /* ... or this */
};

int cu_profile_cpu_start(int hz, struct cu_cpu_profile **out)
{
    char error[COPPER_ERROR_MAX];
    struct cu_cpu_profile *cpu = calloc(1, sizeof *cpu);
    int err = cpu ? cu__cpu_open(hz, &cpu->window, error) : -ENOMEM;
    if (err) {
        free(cpu);
        cpu = NULL;
    }
    *out = cpu;
    return err;
}

int cu_profile_cpu_stop(struct cu_cpu_profile *cpu, struct cu_profile_to to)
{
    char error[COPPER_ERROR_MAX];
    if (!cpu) {
        return -EINVAL;
    }
    if (cpu->window) {
        cpu->err = cu__cpu_close(cpu->window, &cpu->profile, error);
        cpu->window = NULL;
    }
    int err = cpu->err ? cpu->err : write_profile(cpu->profile, to);
    if (!err) {
        cu_profile_cpu_drop(cpu);
    }
    return err;
}

void cu_profile_cpu_drop(struct cu_cpu_profile *cpu)
{
    char error[COPPER_ERROR_MAX];
    if (cpu) {
        if (cpu->window) {
            cu__cpu_close(cpu->window, NULL, error);
        }
        cu_pprof_free(cpu->profile);
        free(cpu);
    }
}

/* ---- by name --------------------------------------------------------------------------------- */

/* Those of the caller, of whatever version; false: they contradict each other, or have no size. */
static bool read_options(const struct cu_profile_options *given, struct cu_profile_options *o)
{
    *o = (struct cu_profile_options){COPPER_PROFILE_OPTIONS};
    if (given) {
        memcpy(o, given, given->size < sizeof *o ? given->size : sizeof *o);
    }
    return (!given || given->size > 0) && o->debug >= 0 && o->window_ns >= 0 &&
           o->window_ns <= (int64_t)COPPER_SECONDS_MAX * 1000000000 &&
           (o->debug == 0 || o->window_ns == 0);
}

static struct cu__named_options named_options(const struct cu_profile_options *o)
{
    return (struct cu__named_options){
        .debug = o->debug, .with_threads = o->with_threads, .is_detailed = o->is_detailed};
}

/* One of those that answer by themselves. */
static int take_window(const struct cu__kind *kind, const struct cu_profile_options *o,
                       struct cu_pprof **out)
{
    char error[COPPER_ERROR_MAX];
    if (kind->serve != cu__serve_profile && kind->serve != cu__serve_wall) {
        return -ENOENT;
    }
    if (o->window_ns == 0 || o->debug) {
        return -EINVAL;
    }
    if (kind->serve == cu__serve_wall) {
        return cu__wall_profile(o->window_ns, NULL, NULL, out);
    }
    return cu__cpu_profile(o->window_ns, o->hz, NULL, NULL, out, error);
}

static int take(const char *name, const struct cu_profile_options *o, struct cu_pprof **out)
{
    const struct cu__kind *kind = cu__kind_find(name);
    const struct cu_profile *own = kind ? NULL : cu__custom_find(name);
    if (own) {
        return o->window_ns ? -EINVAL : cu__custom_profile(own, out);
    }
    if (!kind) {
        return -ENOENT;
    }
    struct cu__named_options named = named_options(o);
    return kind->make ? cu__kind_take(kind, &named, o->window_ns, NULL, NULL, out)
                      : take_window(kind, o, out);
}

int cu_profile_take(const char *name, const struct cu_profile_options *options,
                    struct cu_pprof **out)
{
    struct cu_profile_options o;
    *out = NULL;
    return read_options(options, &o) && o.debug == 0 ? take(name, &o, out) : -EINVAL;
}

static int write_taken(const char *name, const struct cu_profile_options *o,
                       struct cu_profile_to to)
{
    struct target t;
    struct cu_pprof *p = NULL;
    cu_pprof_write_fn *write;
    void *ctx;
    int err = open_target(&t, to, &write, &ctx);
    if (err) {
        return err;
    }
    err = take(name, o, &p);
    err = err ? err : cu_pprof_write(p, write, ctx);
    cu_pprof_free(p);
    return close_target(&t, err);
}

/* ---- texts ----------------------------------------------------------------------------------- */

struct text_server {
    cu_pprof_write_fn *write;
    void *ctx;
};

static void start_text(void *server, int status, const struct cu_http_header *headers, size_t n)
{
    (void)server, (void)status, (void)headers, (void)n;
}

static int write_text(void *server, const void *bytes, size_t n)
{
    const struct text_server *s = server;
    return s->write(s->ctx, bytes, n);
}

static int send_text(const char *name, const struct cu__named_options *options,
                     struct text_server *server)
{
    const struct cu__kind *kind = cu__kind_find(name);
    struct cu_http_request request = {.method = "GET", .path = name};
    struct cu_http_writer writer = {.server = server, .start = start_text, .write = write_text};
    struct cu__answer *a = malloc(sizeof *a); /* too large for a small coroutine's stack */
    if (!a) {
        return -ENOMEM;
    }
    cu__answer_init(a, &request, &writer);
    int err = kind ? kind->text(options, a) : cu__custom_text(cu__custom_find(name), a);
    cu__answer_end(a);
    err = err ? err : a->err;
    free(a);
    return err;
}

static int write_as_text(const char *name, const struct cu_profile_options *o,
                         struct cu_profile_to to)
{
    const struct cu__kind *kind = cu__kind_find(name);
    struct cu__named_options options = named_options(o);
    struct text_server server;
    struct target t;
    if (kind && !kind->text) {
        return kind->type ? -EINVAL : -ENOENT;
    }
    if (!kind && !cu__custom_find(name)) {
        return -ENOENT;
    }
    int err = open_target(&t, to, &server.write, &server.ctx);
    return err ? err : close_target(&t, send_text(name, &options, &server));
}

/* ---- traces ---------------------------------------------------------------------------------- */

static int write_trace(int64_t window_ns, struct cu_profile_to to)
{
    struct cu_trace *trace;
    struct target t;
    cu_pprof_write_fn *write;
    void *ctx;
    if (window_ns == 0) {
        return -EINVAL;
    }
    int err = open_target(&t, to, &write, &ctx);
    if (err) {
        return err;
    }
    err = cu_trace_start(write, ctx, &trace);
    if (!err) {
        cu__wait(window_ns, NULL, NULL);
        err = cu_trace_stop(trace);
    }
    return close_target(&t, err);
}

int cu_profile_write(const char *name, struct cu_profile_to to,
                     const struct cu_profile_options *options)
{
    struct cu_profile_options o;
    if (!read_options(options, &o)) {
        return -EINVAL;
    }
    if (o.debug > 0) {
        return write_as_text(name, &o, to);
    }
    if (strcmp(name, "trace") == 0) {
        return write_trace(o.window_ns, to);
    }
    return write_taken(name, &o, to);
}

int cu_profile_cpu_file(const char *path, double duration_s, int hz)
{
    if (!path || !isfinite(duration_s) || duration_s <= 0 || duration_s > COPPER_SECONDS_MAX) {
        return -EINVAL;
    }
    if (getauxval(AT_SECURE)) {
        return -EACCES; /* a set-user-id program writes no file that its user names */
    }
    struct cu_profile_options o = {COPPER_PROFILE_OPTIONS, .hz = hz,
                                   .window_ns = (int64_t)(duration_s * 1e9)};
    return cu_profile_write("profile", cu_to_file(path), &o);
}
