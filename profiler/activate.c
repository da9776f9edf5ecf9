/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: turn the profiler on from outside the program; see activate.h.
 *
 * Design. In a program that links us a constructor says what is wrong with the environment, and
 * serves when COPPER_HTTP is set. When it is the preload shim that opens this library, the
 * constructor does nothing: the shim calls cu_preload_activate with the address that it was given.
 * The two are told apart by whether the program's own symbol search finds us, which it does not in
 * what was opened with RTLD_LOCAL.
 */
#include "activate.h"

#include "continuous.h"
#include "delay_rates.h"
#include "env_names.h"
#include "port_owner.h"
#include "process_labels.h"
#include "say.h"
#include "serve.h"
#include "units.h"

#include <copper/profiler.h>
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

extern char **environ;

/* ---- why it failed -----------------------------------------------------------------------------
 */

static void explain_taken(const char *address, char *line, size_t cap)
{
    uint32_t ip;
    uint16_t port;
    char name[32];
    pid_t owner = cu__parse_listen_address(address, &ip, &port) == 0
                      ? cu__port_owner(port, name, sizeof(name))
                      : 0;
    char host[64];
    snprintf(host, sizeof(host), "%.*s", (int)strcspn(address, ":"), address);
    if (owner) {
        snprintf(line, cap, "%s is taken by %s[%d]; use %s:0", address, name, (int)owner, host);
    } else {
        snprintf(line, cap, "%s is taken; use %s:0", address, host);
    }
}

void cu__explain_serve_error(const char *address, int err, char *line, size_t cap)
{
    const char *token = getenv("COPPER_TOKEN_FILE");
    switch (-err) {
    case EADDRINUSE:
        explain_taken(address, line, cap);
        return;
    case EINVAL:
        if (token && *token &&
            cu__parse_listen_address(address, &(uint32_t){0}, &(uint16_t){0}) == 0) {
            snprintf(line, cap, "%s must hold one word of at least 16 characters", token);
        } else {
            snprintf(line, cap, "%s is no address; write HOST:PORT, as in 127.0.0.1:6060", address);
        }
        return;
    case EACCES:
        if (getauxval(AT_SECURE)) {
            snprintf(line, cap, "a set-user-id program does not serve profiles");
        } else if (token && *token) {
            snprintf(line, cap, "%s must be readable for its owner alone (chmod 600)", token);
        } else {
            snprintf(line, cap, "%s is not loopback: that needs a token; set COPPER_TOKEN_FILE",
                     address);
        }
        return;
    case ENOTSUP:
        snprintf(
            line, cap,
            "this program has an HTTP library of its own (mg_ functions); no profiles over HTTP");
        return;
    case EALREADY:
        snprintf(line, cap, "profiles are served at %s already", cu_pprof_address());
        return;
    default:
        if (token && *token && access(token, R_OK) != 0) {
            snprintf(line, cap, "%s: %s", token, strerror(errno));
        } else {
            snprintf(line, cap, "cannot serve at %s: %s", address, strerror(-err));
        }
    }
}

/* ---- the environment ---------------------------------------------------------------------------
 */

static const char *const env_names[] = {
#define COPPER_ENV(name) "COPPER_" #name,
    COPPER_ENV_NAMES(COPPER_ENV)
#undef COPPER_ENV
};

bool cu__env_is_known(const char *name)
{
    for (size_t i = 0; i < sizeof(env_names) / sizeof(env_names[0]); i++) {
        if (strcmp(env_names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

/* How many letters must be put, dropped or changed to make b of a; both at most 63 long. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[64];
    size_t n = strlen(b);
    for (size_t j = 0; j <= n; j++) {
        row[j] = (unsigned)j;
    }
    for (size_t i = 0; a[i]; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i + 1;
        for (size_t j = 0; j < n; j++) {
            unsigned change = diagonal + (a[i] != b[j]);
            unsigned put = (row[j] < row[j + 1] ? row[j] : row[j + 1]) + 1;
            diagonal = row[j + 1];
            row[j + 1] = change < put ? change : put;
        }
    }
    return row[n];
}

const char *cu__env_suggestion(const char *name)
{
    const char *best = NULL;
    unsigned nearest = 4; /* further off it is a guess */
    for (size_t i = 0; strlen(name) < 64 && i < sizeof(env_names) / sizeof(env_names[0]); i++) {
        unsigned d = distance(name, env_names[i]);
        if (d < nearest) {
            nearest = d;
            best = env_names[i];
        }
    }
    return best;
}

static void warn_of_labels(void)
{
    char line[256];
    cu__process_labels_check(secure_getenv("COPPER_LABELS"), line, sizeof(line));
    if (line[0]) {
        cu__say("%s", line);
    }
}

static void warn_of_budget(void)
{
    const char *budget = secure_getenv("COPPER_BUDGET");
    if (budget && *budget && cu__parse_share(budget, &(double){0}) != 0) {
        cu__say("COPPER_BUDGET=%s is no share of the CPU time; write 1%%", budget);
    }
}

static void warn_of_unknown_variables(void)
{
    for (char **e = environ; e && *e; e++) {
        char name[128];
        size_t n = strcspn(*e, "=");
        if (strncmp(*e, "COPPER_", 7) != 0 || n >= sizeof(name)) {
            continue;
        }
        memcpy(name, *e, n);
        name[n] = '\0';
        if (cu__env_is_known(name)) {
            continue;
        }
        const char *meant = cu__env_suggestion(name);
        if (meant) {
            cu__say("%s is unknown; %s?", name, meant);
        } else {
            cu__say("%s is unknown", name);
        }
    }
}

/* Once, though the shim may have opened what the program links too. */
static void warn_of_environment(void)
{
    static bool is_done;
    if (!is_done) {
        is_done = true;
        warn_of_labels();
        warn_of_budget();
        warn_of_unknown_variables();
    }
}

/* ---- activation --------------------------------------------------------------------------------
 */

static int serve_or_say(const char *address)
{
    char line[512];
    int err = cu_pprof_serve(address);
    if (err && err != -EALREADY) {
        cu__explain_serve_error(address, err, line, sizeof(line));
        cu__say("%s", line);
    }
    return err == -EALREADY ? 0 : err;
}

int cu_preload_activate(const char *http_address, bool quiet)
{
    warn_of_environment();
    if (!http_address) {
        return 0;
    }
    int err = serve_or_say(http_address);
    const char *address = cu_pprof_address();
    if (!err && !quiet && address) {
        cu__say("%s[%d] http://%s/debug/pprof/", program_invocation_short_name, (int)getpid(),
                address);
    }
    return err;
}

static int is_shim(struct dl_phdr_info *info, size_t size, void *found)
{
    (void)size;
    const char *slash = info->dlpi_name ? strrchr(info->dlpi_name, '/') : NULL;
    const char *name = slash ? slash + 1 : info->dlpi_name;
    if (name && strncmp(name, "libcopper_preload.so", 20) == 0) {
        *(bool *)found = true;
        return 1;
    }
    return 0;
}

/* Did the preload shim open us, and not the program? */
static bool is_opened_by_shim(void)
{
    bool has_shim = false;
    dl_iterate_phdr(is_shim, &has_shim);
    void *program = has_shim ? dlopen(NULL, RTLD_LAZY) : NULL;
    bool is_linked = program && dlsym(program, "cu_pprof_serve") != NULL;
    if (program) {
        dlclose(program);
    }
    return has_shim && !is_linked;
}

__attribute__((constructor)) static void serve_at_start(void)
{
    cu__delay_from_environment();
    cu__continuous_from_environment();
    if (is_opened_by_shim()) {
        return;
    }
    warn_of_environment();
    const char *address = secure_getenv("COPPER_HTTP");
    if (address && *address) {
        serve_or_say(address);
    }
}
