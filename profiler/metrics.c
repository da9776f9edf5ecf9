/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see metrics.h. The process (process_*), the runtime and the profiler (copper_*), and
 * what of this a Go program shows under go_*, so that its dashboards work.
 *
 * Design. A family is begun with its HELP and TYPE, then its samples follow. Only what is known is
 * there: no collector of garbage is made up. Labels have few values, each from a list of ours.
 *
 * Concurrency: no state; counters are read one after the other, not at one moment.
 */
#include "metrics.h"

#include "budget.h"
#include "continuous.h"
#include "cpu_int.h"
#include "delay_hooks.h"
#include "heap_weak.h"
#include "http_query.h"
#include "kernel_threads.h"
#include "runtime_weak.h"
#include "shared_symbolizer.h"
#include "trace_clients.h"

#include <copper/label.h>
#include <dirent.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#pragma weak cu_ready_cause_text
#pragma weak cu_handoff_cause_text

#define TYPE_METRICS "text/plain; version=0.0.4; charset=utf-8"

/* ---- the format ------------------------------------------------------------------------------ */

static void family(struct cu__answer *a, const char *name, const char *type, const char *help)
{
    cu__answer_printf(a, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* value with the format's escapes. Always terminated; cut where it does not fit. */
static const char *escape(const char *value, char *out, size_t cap)
{
    size_t n = 0;
    for (; *value && n + 3 < cap; value++) {
        if (*value == '\\' || *value == '"' || *value == '\n') {
            out[n++] = '\\';
        }
        out[n++] = *value == '\n' ? 'n' : *value;
    }
    out[n] = '\0';
    return out;
}

static void labelled(struct cu__answer *a, const char *name, const char *key, const char *value,
                     double number)
{
    char text[256];
    cu__answer_printf(a, "%s{%s=\"%s\"} %.17g\n", name, key, escape(value, text, sizeof(text)),
                      number);
}

static void single(struct cu__answer *a, const char *name, const char *type, const char *help,
                   double number)
{
    family(a, name, type, help);
    cu__answer_printf(a, "%s %.17g\n", name, number);
}

static double seconds(double ns)
{
    return ns / 1e9;
}

/* One series of a histogram. label: "" or `cause="queue",`. */
static void histogram(struct cu__answer *a, const char *name, const char *label,
                      const uint64_t buckets[COPPER_DELAY_BUCKETS + 1], int64_t sum_ns)
{
    uint64_t below = 0;
    for (unsigned i = 0; i < COPPER_DELAY_BUCKETS; i++) {
        below += buckets[i];
        cu__answer_printf(a, "%s_bucket{%sle=\"%g\"} %" PRIu64 "\n", name, label,
                          seconds((double)cu__delay_bounds_ns[i]), below);
    }
    below += buckets[COPPER_DELAY_BUCKETS];
    cu__answer_printf(a, "%s_bucket{%sle=\"+Inf\"} %" PRIu64 "\n", name, label, below);
    char own[128] = "";
    if (label[0]) {
        snprintf(own, sizeof(own), "{%.*s}", (int)strlen(label) - 1, label);
    }
    cu__answer_printf(a, "%s_sum%s %.9f\n%s_count%s %" PRIu64 "\n", name, own,
                      seconds((double)sum_ns), name, own, below);
}

/* ---- the process ----------------------------------------------------------------------------- */

static unsigned count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        n += entry->d_name[0] != '.';
    }
    if (dir) {
        closedir(dir);
    }
    return n > 0 ? n - 1 : 0; /* the one that reads the directory */
}

/* Fields of /proc/self/stat by their number in proc(5); those asked for are all after the name. */
static bool read_stat(double *start_ticks, double *bytes, double *resident_pages)
{
    char text[1024];
    FILE *file = fopen("/proc/self/stat", "re");
    size_t n = file ? fread(text, 1, sizeof(text) - 1, file) : 0;
    if (file) {
        fclose(file);
    }
    text[n] = '\0';
    char *at = strrchr(text, ')');
    for (int field = 2; at && field < 22; field++) {
        at = strchr(at + 1, ' ');
    }
    if (!at) {
        return false;
    }
    *start_ticks = strtod(at, &at);
    *bytes = strtod(at, &at);
    *resident_pages = strtod(at, &at);
    return true;
}

static double boot_time(void)
{
    char line[256];
    double when = 0;
    FILE *file = fopen("/proc/stat", "re");
    while (file && fgets(line, sizeof(line), file)) {
        if (strncmp(line, "btime ", 6) == 0) {
            when = strtod(line + 6, NULL);
        }
    }
    if (file) {
        fclose(file);
    }
    return when;
}

static void write_process(struct cu__answer *a)
{
    struct rusage usage;
    struct rlimit files, space;
    double ticks, bytes, pages;
    getrusage(RUSAGE_SELF, &usage);
    getrlimit(RLIMIT_NOFILE, &files);
    getrlimit(RLIMIT_AS, &space);
    single(a, "process_cpu_seconds_total", "counter", "User and system CPU time.",
           (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    single(a, "process_open_fds", "gauge", "Open file descriptors.", count_descriptors());
    single(a, "process_max_fds", "gauge", "Limit of open file descriptors.",
           (double)files.rlim_cur);
    single(a, "process_virtual_memory_max_bytes", "gauge", "Limit of address space, -1: none.",
           space.rlim_cur == RLIM_INFINITY ? -1 : (double)space.rlim_cur);
    if (read_stat(&ticks, &bytes, &pages)) {
        single(a, "process_virtual_memory_bytes", "gauge",
               "Address space, stacks reserved for coroutines included.", bytes);
        single(a, "process_resident_memory_bytes", "gauge", "Resident memory.",
               pages * (double)sysconf(_SC_PAGESIZE));
        single(a, "process_start_time_seconds", "gauge", "Start, since the epoch.",
               boot_time() + ticks / (double)sysconf(_SC_CLK_TCK));
    }
}

/* ---- coroutines ------------------------------------------------------------------------------ */

static const char *const state_names[] = {"runnable", "running", "waiting", "syscall"};
#define STATES (sizeof(state_names) / sizeof(state_names[0]))

static bool count_state(const struct cu_g_info *g, void *counts)
{
    ((uint64_t *)counts)[(unsigned)g->state % STATES]++;
    return true;
}

static void write_runtime(struct cu__answer *a, const struct cu_runtime_stats *s,
                          const uint64_t states[STATES])
{
    family(a, "copper_coroutines", "gauge", "Live coroutines by state.");
    for (unsigned i = 0; i < STATES; i++) {
        labelled(a, "copper_coroutines", "state", state_names[i], (double)states[i]);
    }
    single(a, "copper_coroutines_created_total", "counter", "Coroutines spawned.",
           (double)s->created);
    single(a, "copper_coroutines_exited_total", "counter", "Coroutines that ended.",
           (double)s->exited);
    single(a, "copper_switches_total", "counter", "Times that a coroutine began to run on a P.",
           (double)s->switches);
    single(a, "copper_parks_total", "counter", "Times that a coroutine stopped to wait.",
           (double)s->parks);
    single(a, "copper_steals_total", "counter", "Coroutines stolen from other queues.",
           (double)s->steals);
    single(a, "copper_preemptions_total", "counter", "Coroutines that found their P gone.",
           (double)s->preempted);
    family(a, "copper_handoffs_total", "counter", "P taken from a thread, by cause.");
    for (unsigned i = 0; i < COPPER_HANDOFF_COUNT && cu_handoff_cause_text; i++) {
        labelled(a, "copper_handoffs_total", "cause",
                 cu_handoff_cause_text((enum cu_handoff_cause)i), (double)s->handoffs[i]);
    }
    family(a, "copper_p_seconds_total", "counter", "Time of all P, by what they did.");
    labelled(a, "copper_p_seconds_total", "state", "running", seconds((double)s->running_ns));
    labelled(a, "copper_p_seconds_total", "state", "idle", seconds((double)s->idle_ns));
    labelled(a, "copper_p_seconds_total", "state", "searching", seconds((double)s->spinning_ns));
    single(a, "copper_p", "gauge", "P: coroutines that can run at once (COPPER_MAXPROCS).",
           s->maxprocs);
    single(a, "copper_worker_threads", "gauge", "Threads that run coroutines.", (double)s->threads);
    single(a, "copper_worker_threads_refused_total", "counter",
           "Times that one more thread was wanted and not to be had (COPPER_MAXTHREADS).",
           (double)s->threads_refused);
    single(a, "copper_starved_total", "counter", "Looks that found a thread without CPU.",
           (double)s->starved);
}

#define LATENCY_HELP "From ready to running, counted while the schedule profile is on"

static void read_histogram(unsigned cause, uint64_t buckets[COPPER_DELAY_BUCKETS + 1],
                           int64_t *sum_ns)
{
    const struct cu__delay_histogram *h = &cu__delay_histograms[cause];
    for (unsigned i = 0; i <= COPPER_DELAY_BUCKETS; i++) {
        buckets[i] += atomic_load_explicit(&h->buckets[i], memory_order_relaxed);
    }
    *sum_ns += atomic_load_explicit(&h->sum_ns, memory_order_relaxed);
}

static void write_delays(struct cu__answer *a)
{
    family(a, "copper_schedule_delay_seconds", "histogram", LATENCY_HELP ", by cause.");
    for (unsigned cause = 0; cause < COPPER_CAUSE_COUNT && cu_ready_cause_text; cause++) {
        uint64_t buckets[COPPER_DELAY_BUCKETS + 1] = {0};
        int64_t sum_ns = 0;
        char text[64], label[96];
        read_histogram(cause, buckets, &sum_ns);
        escape(cu_ready_cause_text((enum cu_ready_cause)cause), text, sizeof(text));
        snprintf(label, sizeof(label), "cause=\"%s\",", text);
        histogram(a, "copper_schedule_delay_seconds", label, buckets, sum_ns);
    }
}

/* ---- tables ---------------------------------------------------------------------------------- */

/* What keeps something of all that ever was, and so has an end. -1: that is not known, or none. */
struct table {
    const char *name;
    int64_t dropped; /* times that something was not kept in it, or not under its stack */
    int64_t entries, entries_max, bytes;
};
#define TABLES_MAX 8u

static size_t runtime_tables(struct table *out)
{
    struct cu_runtime_stats s = {.size = sizeof(s)};
    cu_runtime_stats_read(&s);
    out[0] = (struct table){"label", (int64_t)s.label_sets_refused, (int64_t)s.label_sets,
                            COPPER_LABEL_SETS_MAX, -1};
    out[1] = (struct table){"origin", (int64_t)s.origins_refused, (int64_t)s.origins,
                            COPPER_ORIGINS_MAX, -1};
    return 2;
}

static struct table heap_table(void)
{
    struct cu_heap_stats s = {.size = sizeof(s)};
    cu_heap_stats_read(&s);
    return (struct table){"heap", (int64_t)(s.folded + s.unfollowed), (int64_t)s.sites,
                          (int64_t)s.sites_max, (int64_t)s.bytes};
}

static size_t read_tables(const struct cu__sampler_totals *sampler, struct table *out)
{
    struct cu_stacks_stats stacks;
    struct cu__trace_totals trace;
    size_t n = 0;
    cu_stacks_stats_read(&stacks);
    cu__trace_totals(&trace);
    out[n++] =
        (struct table){"cpu", (int64_t)(sampler->counts.timers.dropped + sampler->counts.refused),
                       sampler->table_stacks, 2 * COPPER_STACKS_MAX, (int64_t)sampler->table_bytes};
    out[n++] =
        (struct table){"delay", (int64_t)cu__delay_table_refused(), (int64_t)cu__delay_table_used(),
                       COPPER_DELAY_ENTRIES, (int64_t)cu__delay_table_bytes()};
    out[n++] = (struct table){"unwind", (int64_t)stacks.modules_refused, (int64_t)stacks.modules,
                              COPPER_MODULES_MAX, (int64_t)stacks.table_bytes};
    out[n++] =
        (struct table){"symbol", -1, (int64_t)cu__symbolizer_frames(), COPPER_SYMBOLS_MAX, -1};
    out[n++] = (struct table){"trace", (int64_t)trace.lost, -1, -1, -1};
    if (cu__has_heap()) {
        out[n++] = heap_table();
    }
    return n + (cu_runtime_stats_read ? runtime_tables(out + n) : 0); /* threads have labels too */
}

static void table_sample(struct cu__answer *a, const char *name, const struct table *t,
                         int64_t value)
{
    if (value >= 0) {
        labelled(a, name, "table", t->name, (double)value);
    }
}

static void write_tables(struct cu__answer *a, const struct cu__sampler_totals *sampler)
{
    struct table tables[TABLES_MAX];
    const struct table *t, *end = tables + read_tables(sampler, tables);
    family(a, "copper_profiler_dropped_total", "counter", "What was not counted under its stack.");
    for (t = tables; t < end; t++) {
        table_sample(a, "copper_profiler_dropped_total", t, t->dropped);
    }
    family(a, "copper_profiler_table_entries", "gauge", "What is in tables.");
    for (t = tables; t < end; t++) {
        table_sample(a, "copper_profiler_table_entries", t, t->entries);
    }
    family(a, "copper_profiler_table_entries_max", "gauge",
           "What tables have room for: more is dropped; symbols are looked up anew.");
    for (t = tables; t < end; t++) {
        table_sample(a, "copper_profiler_table_entries_max", t, t->entries_max);
    }
    family(a, "copper_profiler_table_bytes", "gauge", "Memory in use by tables.");
    for (t = tables; t < end; t++) {
        table_sample(a, "copper_profiler_table_bytes", t, t->bytes);
    }
}

/* ---- the profiler itself --------------------------------------------------------------------- */

static void write_self(struct cu__answer *a)
{
    struct cu__sampler_totals totals;
    cu__sampler_totals(&totals);
    const struct cu__run_counts *c = &totals.counts;
    single(a, "copper_profiler_handler_seconds_total", "counter", "Time in the signal handler.",
           seconds((double)c->timers.handler_ns));
    single(a, "copper_profiler_collector_seconds_total", "counter", "CPU time of the collector.",
           seconds((double)c->collector_ns));
    single(a, "copper_profiler_own_threads_seconds_total", "counter",
           "CPU time of all threads of the profiler.", seconds((double)cu__own_threads_ns()));
    single(a, "copper_profiler_cpu_samples_total", "counter", "CPU samples taken.",
           (double)c->timers.delivered);
    struct cu__continuous_stats files;
    cu__continuous_stats(&files);
    family(a, "copper_profiler_continuous_files_total", "counter",
           "Files of COPPER_CONTINUOUS; failed: attempts to write one.");
    labelled(a, "copper_profiler_continuous_files_total", "what", "written", (double)files.written);
    labelled(a, "copper_profiler_continuous_files_total", "what", "failed", (double)files.failed);
    labelled(a, "copper_profiler_continuous_files_total", "what", "removed", (double)files.removed);
    write_tables(a, &totals);
    family(a, "copper_profiler_cost_seconds_total", "counter", "What profiling cost, by kind.");
    for (int kind = 0; kind < COPPER_COST_KINDS; kind++) {
        labelled(a, "copper_profiler_cost_seconds_total", "kind",
                 cu__cost_text((enum cu__cost)kind),
                 seconds((double)cu__cost_ns((enum cu__cost)kind)));
    }
    single(a, "copper_profiler_budget_ratio", "gauge",
           "Share of the program's CPU time that profiling may cost (COPPER_BUDGET).",
           cu__budget());
    single(a, "copper_profiler_perf_threads", "gauge", "Threads sampled by perf events now.",
           cu__perf_threads());
    single(a, "copper_profiler_hz", "gauge", "Rate of the CPU sampler now, 0: off.", totals.hz);
}

/* ---- Go's names ------------------------------------------------------------------------------ */

static void write_go_memory(struct cu__answer *a)
{
    struct mallinfo2 m = mallinfo2();
    double mapped = (double)m.hblkhd, used = (double)m.uordblks + mapped;
    if (m.arena + m.hblkhd == 0) {
        return; /* another allocator: nothing is known */
    }
    single(a, "go_memstats_alloc_bytes", "gauge", "Bytes allocated, as malloc counts.", used);
    single(a, "go_memstats_heap_alloc_bytes", "gauge", "Bytes allocated, as malloc counts.", used);
    single(a, "go_memstats_heap_inuse_bytes", "gauge", "Bytes allocated, as malloc counts.", used);
    single(a, "go_memstats_heap_idle_bytes", "gauge", "Bytes free in malloc's arenas.",
           (double)m.fordblks);
    single(a, "go_memstats_heap_sys_bytes", "gauge", "Bytes that malloc has from the kernel.",
           (double)m.arena + mapped);
}

static void write_go_runtime(struct cu__answer *a, const struct cu_runtime_stats *s,
                             const uint64_t states[STATES])
{
    uint64_t buckets[COPPER_DELAY_BUCKETS + 1] = {0};
    int64_t sum_ns = 0;
    single(a, "go_goroutines", "gauge", "Live coroutines.", (double)s->live);
    single(a, "go_sched_goroutines_goroutines", "gauge", "Live coroutines.", (double)s->live);
    single(a, "go_sched_goroutines_runnable_goroutines", "gauge", "Coroutines that could run.",
           (double)states[COPPER_G_RUNNABLE]);
    single(a, "go_sched_goroutines_running_goroutines", "gauge", "Coroutines that run.",
           (double)states[COPPER_G_RUNNING]);
    single(a, "go_sched_goroutines_waiting_goroutines", "gauge", "Coroutines that wait.",
           (double)states[COPPER_G_WAITING]);
    single(a, "go_sched_goroutines_not_in_go_goroutines", "gauge",
           "Coroutines in announced blocking calls.", (double)states[COPPER_G_SYSCALL]);
    single(a, "go_sched_goroutines_created_goroutines_total", "counter", "Coroutines spawned.",
           (double)s->created);
    single(a, "go_sched_gomaxprocs_threads", "gauge", "P (COPPER_MAXPROCS).", s->maxprocs);
    single(a, "go_sync_mutex_wait_total_seconds_total", "counter",
           "Waits for locks, counted while a wait profile is on.",
           seconds((double)atomic_load(&cu__delay_mutex_wait_ns)));
    for (unsigned cause = 0; cause < COPPER_CAUSE_COUNT; cause++) {
        read_histogram(cause, buckets, &sum_ns);
    }
    family(a, "go_sched_latencies_seconds", "histogram", LATENCY_HELP ".");
    histogram(a, "go_sched_latencies_seconds", "", buckets, sum_ns);
}

static void write_go_process(struct cu__answer *a)
{
    family(a, "go_info", "gauge", "The version of copper, in place of Go's.");
    labelled(a, "go_info", "version", "copper-" COPPER_VERSION, 1);
    single(a, "go_threads", "gauge", "OS threads of the program.", cu__threads_count());
    write_go_memory(a);
}

void cu__serve_metrics(struct cu__answer *a)
{
    char text[COPPER_QUERY_VALUE_MAX];
    bool is_go = !(cu__query_value(a->request->query, "go", text) && strcmp(text, "0") == 0);
    if (!cu__answer_begin(a, TYPE_METRICS, NULL)) {
        return;
    }
    family(a, "copper_info", "gauge", "The version of copper.");
    labelled(a, "copper_info", "version", COPPER_VERSION, 1);
    write_process(a);
    if (is_go) {
        write_go_process(a);
    }
    if (cu__has_runtime()) {
        struct cu_runtime_stats stats = {.size = sizeof(stats)};
        uint64_t states[STATES] = {0};
        cu_runtime_stats_read(&stats);
        cu_inspect_each(count_state, states);
        write_runtime(a, &stats, states);
        write_delays(a);
        if (is_go) {
            write_go_runtime(a, &stats, states);
        }
    }
    write_self(a);
}
