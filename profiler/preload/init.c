/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: decides, once per process and before main, whether this process is to be profiled.
 *
 * Design. Everything is in the environment, where `copper run` put it right before exec:
 *
 *   COPPER_PRELOAD_PID=N       process N is meant. exec keeps the pid, so a start script that execs
 *                              its program hands us on, while its other children are left alone
 *   COPPER_PRELOAD_FOLLOW=1    children are meant too
 *   COPPER_PRELOAD_NAMES=a,b   (also) programs of these names are meant, wherever in the tree
 *   COPPER_PRELOAD_HTTP=H:P    where process N serves (default: a free loopback port). Others serve
 *                              on a free port, since two cannot have the same
 *   COPPER_PRELOAD_QUIET=1     no line about where we serve
 *   COPPER_PRELOAD_RECORD=1    process N is recorded: it begins when that does, and before it exits
 *                              the windows under way are answered
 *
 * A process that is not meant is left exactly as it would be without us: no thread, signal handler,
 * descriptor or output, and, unless children are to be followed, its own children do not inherit us.
 * One that is meant opens the profiler with RTLD_LOCAL, so that none of its libraries' names reach the
 * program, and lets it serve. Whatever fails there is one line, and the program runs on.
 *
 * This library needs nothing but a C library, and of that only calls that musl has as well: a child
 * may be a musl program, and an unresolved name would end it.
 */
#include "environment.h"
#include "preload.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COPPER_PRELOAD_ANY_PORT "127.0.0.1:0"
#define COPPER_PROFILER_SONAME  "libcopper_profiler.so.0"

typedef int activate_fn(const char *http_address, bool is_quiet);

struct cu__wrap_hooks cu__wrap_hooks;

static cu__wrap_fn *finish_recording; /* NULL: nobody records. Set before main */

static void say(const char *what, const char *detail)
{
    char line[PATH_MAX + 256];
    int n = snprintf(line, sizeof line, "copper: %s[%d] is not profiled: %s%s%s\n",
                     program_invocation_short_name, (int)getpid(), what, detail ? ": " : "",
                     detail ? detail : "");
    if (n > 0) {
        size_t size = (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;
        ssize_t ignored = write(STDERR_FILENO, line, size);
        (void)ignored;
    }
}

static bool is_set(const char *name)
{
    const char *value = secure_getenv(name);
    return value && *value != '\0' && strcmp(value, "0") != 0;
}

/* The folder this library was loaded from and its file name there. */
static bool find_self(char folder[PATH_MAX], const char **file)
{
    Dl_info info;
    if (!dladdr(&cu__wrap_hooks, &info) || !info.dli_fname) {
        return false;
    }
    const char *slash = strrchr(info.dli_fname, '/');
    *file = slash ? slash + 1 : info.dli_fname;
    size_t n = slash ? (size_t)(slash - info.dli_fname) : 0;
    if (n == 0 || n >= PATH_MAX) {
        strcpy(folder, ".");
    } else {
        memcpy(folder, info.dli_fname, n);
        folder[n] = '\0';
    }
    return true;
}

/* The profiler lies beside us (build tree) or one folder up (installed). */
static void *open_profiler(const char *folder)
{
    char path[PATH_MAX + sizeof "/../" COPPER_PROFILER_SONAME];
    snprintf(path, sizeof path, "%s/%s", folder, COPPER_PROFILER_SONAME);
    if (access(path, F_OK) != 0) {
        snprintf(path, sizeof path, "%s/../%s", folder, COPPER_PROFILER_SONAME);
    }
    return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

/* A profiler that lacks a hook does not get it called; the others still work. */
static void nothing(void)
{
}

static cu__wrap_fn *hook(void *profiler, const char *name)
{
    cu__wrap_fn *fn = (cu__wrap_fn *)dlsym(profiler, name);
    return fn ? fn : nothing;
}

/* In the process of which a recorder asks for window after window. */
static void begin_recorded(void *profiler)
{
    hook(profiler, "cu_preload_begin")();
    finish_recording = hook(profiler, "cu_preload_finish");
}

static void activate(const char *folder, const char *address, bool is_quiet, bool is_recorded)
{
    void *profiler = open_profiler(folder);
    if (!profiler) {
        say("cannot load the profiler", dlerror());
        return;
    }
    activate_fn *start = (activate_fn *)dlsym(profiler, "cu_preload_activate");
    if (!start) {
        say("the profiler library does not fit", dlerror());
        return;
    }
    struct cu__wrap_hooks *hooks = &cu__wrap_hooks;
    atomic_store_explicit(&hooks->thread_started, hook(profiler, "cu_profiler_thread_started"),
                          memory_order_relaxed);
    atomic_store_explicit(&hooks->modules_closing, hook(profiler, "cu_modules_closing_sig"),
                          memory_order_relaxed);
    atomic_store_explicit(&hooks->modules_closed, hook(profiler, "cu_modules_closed_sig"),
                          memory_order_relaxed);
    if (start(address, is_quiet) == 0) { /* says itself what went wrong */
        /* pairs with cu__wrap_is_active */
        atomic_store_explicit(&hooks->pid, getpid(), memory_order_release);
        if (is_recorded) {
            begin_recorded(profiler);
        }
    }
}

/* What the environment asks of this process. */
struct wish {
    bool is_target;   /* process N itself */
    bool is_followed; /* children are to decide for themselves */
    bool is_meant;    /* to be profiled */
};

static struct wish read_wish(void)
{
    const char *pid = secure_getenv("COPPER_PRELOAD_PID");
    const char *names = secure_getenv("COPPER_PRELOAD_NAMES");
    struct wish w = {
        .is_target = pid && strtol(pid, NULL, 10) == (long)getpid(),
        .is_followed = is_set("COPPER_PRELOAD_FOLLOW") || (names && *names != '\0'),
    };
    bool is_named = names && cu__environment_list_has(names, program_invocation_short_name);
    w.is_meant = w.is_target || is_named || (is_set("COPPER_PRELOAD_FOLLOW") && !names);
    return w;
}

__attribute__((constructor)) static void begin(void)
{
    int saved_errno = errno;
    char folder[PATH_MAX];
    const char *file;
    if (find_self(folder, &file)) {
        struct wish w = read_wish();
        if (w.is_meant) {
            const char *address = w.is_target ? secure_getenv("COPPER_PRELOAD_HTTP") : NULL;
            activate(folder, address ? address : COPPER_PRELOAD_ANY_PORT,
                     is_set("COPPER_PRELOAD_QUIET"),
                     w.is_target && is_set("COPPER_PRELOAD_RECORD"));
        } else if (!w.is_followed) {
            cu__environment_leave_preload(file);
            cu__environment_remove("COPPER_PRELOAD_");
        }
    }
    errno = saved_errno;
}

/* At exit, in the process that was activated and not in its forked children. */
__attribute__((destructor)) static void end(void)
{
    if (finish_recording && cu__wrap_is_active()) {
        finish_recording();
    }
}
