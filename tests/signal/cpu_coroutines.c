/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: CPU samples of coroutines: they carry their labels and end at the coroutine's entry, and a
 * worker between coroutines is told apart. At a rate above the kernel's tick, which workers get as other
 * threads do.
 */
#include <copper/chan.h>
#include <copper/go.h>
#include <copper/label.h>
#include <copper/pprof.h>
#include <copper/profiler.h>
#include <copper/sync.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COMPLETE 0.99
#if defined(__has_feature)
#if __has_feature(thread_sanitizer) /* holds signals back and delivers them from frames of its own */
#undef COMPLETE
#define COMPLETE 0.9
#endif
#endif

static atomic_bool is_over;
static atomic_ulong sink;
static char file[64];
static int profile_error;

__attribute__((noinline)) static void work(int rounds)
{
    uint64_t x = (uint64_t)rounds;
    for (int i = 0; i < rounds * 1000; i++) {
        x = x * 6364136223846793005u + 1;
        __asm__ volatile("" : "+r"(x));
    }
    atomic_store_explicit(&sink, x, memory_order_relaxed);
}

__attribute__((noinline)) static void spin_stage(void *arg)
{
    cu_label_set("stage", arg);
    while (!is_over) {
        work(100);
        cu_yield();
    }
    sink++;
}

__attribute__((noinline)) static void child_stage(void *arg)
{
    (void)arg; /* its label comes from its parent */
    while (!is_over) {
        work(100);
        cu_yield();
    }
    sink++;
}

__attribute__((noinline)) static void parent_stage(void *arg)
{
    cu_label_set("family", arg);
    cu_go(child_stage, NULL);
    while (!is_over) {
        work(10);
        cu_yield();
    }
    sink++;
}

static void *take_profile(void *unused)
{
    profile_error = cu_profile_cpu_file(file, 3, 1000);
    is_over = true;
    return unused;
}

static int app(void *unused)
{
    (void)unused;
    cu_go(spin_stage, "parse");
    cu_go(spin_stage, "render");
    cu_go(parent_stage, "smith");
    while (!is_over) {
        cu_yield();
    }
    return 0;
}

struct seen {
    int64_t all, complete, coroutine, entry, parse, render, child;
};

static const char *name_of(const struct cu_pprof *p, uint32_t location)
{
    const struct cu_pprof_line *lines;
    size_t nlines;
    uint32_t mapping;
    uint64_t address;
    static struct cu_pprof_function f;
    if (!cu_pprof_location_at(p, location, &mapping, &address, &lines, &nlines) || nlines == 0 ||
        !cu_pprof_function_at(p, lines[nlines - 1].function, &f)) {
        return "";
    }
    return f.name;
}

static bool has_function(const struct cu_pprof *p, const struct cu_pprof_sample *s,
                         const char *name)
{
    for (size_t i = 0; i < s->nlocations; i++) {
        if (strcmp(name_of(p, s->locations[i]), name) == 0) {
            return true;
        }
    }
    return false;
}

static const char *label_of(const struct cu_pprof_sample *s, const char *key)
{
    for (size_t i = 0; i < s->nlabels; i++) {
        if (strcmp(s->labels[i].key, key) == 0 && s->labels[i].str) {
            return s->labels[i].str;
        }
    }
    return "";
}

static void look_at_sample(struct seen *seen, const struct cu_pprof *p,
                           const struct cu_pprof_sample *s)
{
    int64_t ns = s->values[1];
    bool is_cut = strcmp(label_of(s, "stack"), "cut") == 0;
    seen->all += ns;
    seen->complete += is_cut ? 0 : ns;
    if (strcmp(label_of(s, "running"), "coroutine") != 0) {
        return;
    }
    seen->coroutine += ns;
    const char *root = s->nlocations ? name_of(p, s->locations[s->nlocations - 1]) : "";
    /* no thread function may be under a coroutine's stack */
    seen->entry += strcmp(root, "clone3") != 0 && strcmp(root, "_start") != 0 && !is_cut ? ns : 0;
    bool is_stage = has_function(p, s, "spin_stage");
    seen->parse += is_stage && strcmp(label_of(s, "stage"), "parse") == 0 ? ns : 0;
    seen->render += is_stage && strcmp(label_of(s, "stage"), "render") == 0 ? ns : 0;
    seen->child += has_function(p, s, "child_stage") &&
                           strcmp(label_of(s, "family"), "smith") == 0
                       ? ns
                       : 0;
}

/* By perf events; or, where the kernel has none for anybody, by what it says. */
static bool has_source(const struct cu_pprof *p)
{
    bool is_told = false, is_blocked = false;
    for (size_t i = 0; i < cu_pprof_ncomments(p); i++) {
        is_told |= strncmp(cu_pprof_comment_at(p, i), "# source: ", 10) == 0;
        is_blocked |= strstr(cu_pprof_comment_at(p, i), "they block SIGURG") != NULL;
    }
    return is_told && !is_blocked;
}

int main(void)
{
    snprintf(file, sizeof file, "/tmp/copper_cpu_coroutines.%d", (int)getpid());
    pthread_t profiler;
    if (pthread_create(&profiler, NULL, take_profile, NULL) != 0 || cu_run(app, NULL) != 0) {
        return 1;
    }
    pthread_join(profiler, NULL);
    char error[256] = "";
    struct cu_pprof *p;
    if (profile_error || cu_pprof_read_file(file, &p, error, sizeof error) != 0) {
        fprintf(stderr, "no profile: %s %s\n", strerror(-profile_error), error);
        return 1;
    }
    unlink(file);
    struct seen seen = {0};
    for (size_t i = 0; i < cu_pprof_nsamples(p); i++) {
        struct cu_pprof_sample sample;
        struct cu_pprof_label labels[20];
        sample.nlabels = cu_pprof_sample_at(p, i, &sample, labels, 20);
        look_at_sample(&seen, p, &sample);
    }
    printf("%.3f s in all, %.2f %% complete; coroutines %.3f s, of which %.2f %% end at an entry; "
           "parse %.3f, render %.3f, child %.3f s\n",
           (double)seen.all / 1e9, 100 * (double)seen.complete / (double)seen.all,
           (double)seen.coroutine / 1e9, 100 * (double)seen.entry / (double)seen.coroutine,
           (double)seen.parse / 1e9, (double)seen.render / 1e9, (double)seen.child / 1e9);
    bool has_rate = has_source(p);
    cu_pprof_free(p);
    if (!has_rate) {
        fputs("1000 Hz were asked for: neither perf events nor why not\n", stderr);
    }
    bool is_good = has_rate && (double)seen.complete >= COMPLETE * (double)seen.all && seen.coroutine > 0 &&
                   (double)seen.entry >= COMPLETE * (double)seen.coroutine && seen.parse > 0 &&
                   seen.render > 0 && seen.child > 0;
    return is_good ? 0 : 1;
}
