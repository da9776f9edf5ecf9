/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see launch.h.
 *
 * Design. The variables are those that the shim reads (profiler/preload/init.c). They are set right
 * before exec, in the process that becomes the program, so that no helper of ours inherits them. An
 * LD_PRELOAD that the user has is kept, behind ours.
 */
#include "launch.h"

#include "address.h"
#include "program.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where the shim lies, seen from the folder of this command: in the build tree, and installed. */
static const char *const shim_places[] = {
    "../lib/libcopper_preload.so",
    COPPER_LIBDIR_FROM_BIN "/copper/libcopper_preload.so",
    "../lib/copper/libcopper_preload.so",
    "../lib/x86_64-linux-gnu/copper/libcopper_preload.so",
};

static int find_shim(char out[PATH_MAX])
{
    char self[PATH_MAX], path[2 * PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) {
        cu__error("/proc is not mounted, and copper needs it");
        return COPPER_EXIT_FAILED;
    }
    self[n] = '\0';
    *(strrchr(self, '/') + 1) = '\0';
    for (size_t i = 0; i < sizeof shim_places / sizeof shim_places[0]; i++) {
        snprintf(path, sizeof path, "%s%s", self, shim_places[i]);
        if (realpath(path, out)) {
            if (strpbrk(out, " :")) {
                cu__error("%s: the loader cannot preload from a folder with a space or a colon in "
                          "its name", out);
                return COPPER_EXIT_FAILED;
            }
            return 0;
        }
    }
    cu__error("libcopper_preload.so is missing beside %s", self);
    return COPPER_EXIT_FAILED;
}

int cu__launch_prepare(const struct cu__options *o, bool is_recorded, struct cu__launch *out)
{
    out->options = o;
    out->is_recorded = is_recorded;
    int status = find_shim(out->shim);
    if (!status) {
        status = cu__program_find(o->program[0], out->program);
    }
    if (!status) {
        status = cu__program_check(o->program[0], out->program);
    }
    if (!status) {
        status = cu__address_check(o->http ? o->http : COPPER_CLI_ANY_PORT, out->address);
    }
    return status;
}

/* Puts ours before what is there already. 0 or an errno value. */
static int prepend_preload(const char *shim)
{
    const char *old = getenv("LD_PRELOAD");
    if (!old || *old == '\0') {
        return setenv("LD_PRELOAD", shim, 1) ? errno : 0;
    }
    char *both;
    if (asprintf(&both, "%s:%s", shim, old) < 0) {
        return ENOMEM;
    }
    int error = setenv("LD_PRELOAD", both, 1) ? errno : 0;
    free(both);
    return error;
}

static int set_flag(const char *name, bool is_on)
{
    return (is_on ? setenv(name, "1", 1) : unsetenv(name)) ? errno : 0;
}

static int set_text(const char *name, const char *value)
{
    return (value ? setenv(name, value, 1) : unsetenv(name)) ? errno : 0;
}

static int set_environment(const struct cu__launch *l)
{
    const struct cu__options *o = l->options;
    char pid[24];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    int error = prepend_preload(l->shim);
    error = error ? error : set_text("COPPER_PRELOAD_PID", pid);
    error = error ? error : set_text("COPPER_PRELOAD_HTTP", l->address);
    error = error ? error : set_flag("COPPER_PRELOAD_QUIET", o->is_quiet || l->is_recorded);
    error = error ? error : set_flag("COPPER_PRELOAD_RECORD", l->is_recorded);
    error = error ? error : set_flag("COPPER_PRELOAD_FOLLOW", o->is_follow);
    error = error ? error : set_text("COPPER_PRELOAD_NAMES", o->follow_names);
    if (!error && o->is_leakcheck) {
        error = set_flag("COPPER_LEAKCHECK", true);
    }
    return error;
}

int cu__launch_exec(const struct cu__launch *l)
{
    int error = set_environment(l);
    if (!error) {
        execvp(l->program, l->options->program);
        error = errno;
    }
    return error;
}

int cu__launch_failed(const struct cu__launch *l, int error)
{
    cu__error("%s: %s", l->options->program[0], strerror(error));
    return error == ENOENT ? COPPER_EXIT_NOT_FOUND : COPPER_EXIT_CANNOT_RUN;
}

int cu__run(const struct cu__options *o)
{
    struct cu__launch l;
    int status = cu__launch_prepare(o, false, &l);
    if (status) {
        return status;
    }
    return cu__launch_failed(&l, cu__launch_exec(&l));
}
