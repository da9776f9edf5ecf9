/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the flight recorder's outside: COPPER_FLIGHT and COPPER_FLIGHT_ON, files written when a
 * coroutine had to wait too long for a P.
 *
 * A file appears under its name only when it is complete. After one, the next is written when as
 * much time has passed as is kept, so that no two overlap and a program that is always late does
 * not fill its disk; there are at most COPPER_FLIGHT_FILES_MAX of one process.
 *
 * Concurrency: the limits are written by a constructor; late files are written by the recorder's
 * thread alone.
 */
#include "cpu_int.h"
#include "say.h"
#include "trace_file.h"
#include "trace_record.h"
#include "trace_wire.h"
#include "units.h"

#include <copper/pprof.h>
#include <copper/trace.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COPPER_FLIGHT_BYTES     (64u << 20)
#define COPPER_FLIGHT_FILES_MAX 100u
#define COPPER_FLIGHT_KEEP_NS   10000000000 /* when only COPPER_FLIGHT_ON is given */

static int64_t keep_ns, next_late_ns;
static unsigned late_files;

int cu__flight_write_blobs(const char *path, struct cu__blob *const *blobs, unsigned n)
{
    struct cu_pprof_file *file;
    int err = cu_pprof_file_open(path, false, &file);
    if (err) {
        return err;
    }
    err = cu_pprof_file_write(file, COPPER_WIRE_HEADER, COPPER_WIRE_HEADER_BYTES);
    for (unsigned i = 0; i < n && !err; i++) {
        err = cu_pprof_file_write(file, blobs[i]->bytes, blobs[i]->n);
    }
    return cu_pprof_file_close(file, err);
}

int cu_flight_start(int64_t wanted_ns, size_t max_bytes)
{
    if (wanted_ns < 0) {
        return -EINVAL;
    }
    return cu__flight_keep(wanted_ns, max_bytes ? max_bytes : COPPER_FLIGHT_BYTES, true);
}

int cu_flight_write(const char *path)
{
    struct cu__blob **blobs = malloc(COPPER_FLIGHT_BLOBS * sizeof(struct cu__blob *));
    if (!blobs) {
        return -ENOMEM;
    }
    int n = cu__flight_take(blobs, COPPER_FLIGHT_BLOBS);
    int err = n < 0 ? n : cu__flight_write_blobs(path, blobs, (unsigned)n);
    for (int i = 0; i < n; i++) {
        cu__blob_drop(blobs[i]);
    }
    free(blobs);
    return err;
}

/* ---- by itself ------------------------------------------------------------------------------- */

/* COPPER_FLIGHT_FILE with %p and %n replaced by pid and number. */
static void late_path(char *path, size_t cap)
{
    const char *pattern = secure_getenv("COPPER_FLIGHT_FILE");
    size_t n = 0;
    pattern = pattern && *pattern ? pattern : "copper-flight-%p-%n.trace";
    for (; *pattern && n + 12 < cap; pattern++) {
        if (*pattern == '%' && (pattern[1] == 'p' || pattern[1] == 'n')) {
            unsigned value = *++pattern == 'p' ? (unsigned)getpid() : late_files + 1;
            n += (size_t)snprintf(path + n, cap - n, "%u", value);
        } else {
            path[n++] = *pattern;
        }
    }
    path[n] = '\0';
}

static void write_late(int64_t g, int64_t delay_ns, struct cu__blob **blobs, unsigned n)
{
    int64_t now_ns = cu__now_ns();
    if (now_ns < next_late_ns || late_files == COPPER_FLIGHT_FILES_MAX) {
        return;
    }
    char path[PATH_MAX];
    late_path(path, sizeof(path));
    int err = cu__flight_write_blobs(path, blobs, n);
    next_late_ns = now_ns + keep_ns;
    late_files++;
    if (err) {
        cu__say("%s: %s", path, strerror(-err));
    } else {
        cu__say("coroutine %lld waited %.1f ms for a P; see: go tool trace %s", (long long)g,
            (double)delay_ns / 1e6, path);
    }
}

/* The value of a variable in ns; 0: not set or, after a line on stderr, not usable. */
static int64_t duration_of(const char *name)
{
    const char *text = secure_getenv(name);
    int64_t ns = 0;
    if (!text || !*text) {
        return 0;
    }
    int err = cu__parse_duration(text, &ns);
    if (err == -EDOM) {
        cu__say("%s=%s has no unit; write %ss", name, text, text);
    } else if (err || ns <= 0) {
        cu__say("%s=%s is no time; write 10s or 5ms", name, text);
        ns = 0;
    }
    return err ? 0 : ns;
}

static void size_buffer(void)
{
    const char *text = secure_getenv("COPPER_TRACE_BUFFER");
    int64_t bytes = 0;
    int err = text && *text ? cu__parse_size(text, &bytes) : 0;
    if (err == -EDOM) {
        cu__say("COPPER_TRACE_BUFFER=%s has no unit; write %sMiB", text, text);
    } else if (err || (bytes && !cu__trace_record_limit(bytes))) {
        cu__say("COPPER_TRACE_BUFFER=%s is no size from 256KiB to 64GiB", text);
    }
}

__attribute__((constructor)) static void start_from_environment(void)
{
    size_buffer();
    int64_t limit_ns = duration_of("COPPER_FLIGHT_ON");
    keep_ns = duration_of("COPPER_FLIGHT");
    keep_ns = keep_ns == 0 && limit_ns ? COPPER_FLIGHT_KEEP_NS : keep_ns;
    if (keep_ns == 0 || !cu__trace_can_record()) {
        return;
    }
    if (limit_ns) {
        atomic_store(&cu__trace_delay_limit_ns, limit_ns);
        cu__flight_on_late(write_late);
    }
    /* waits for nothing: the loader's lock may be held, which the recorder's thread needs */
    int err = cu__flight_keep(keep_ns, COPPER_FLIGHT_BYTES, false);
    if (err) {
        cu__say("COPPER_FLIGHT: cannot start the flight recorder: %s", strerror(-err));
    }
}
