/* SPDX-License-Identifier: Apache-2.0
 *
 * Takes profiles from C: profile_program FOLDER. Serves, holds values of its own (4 from the main
 * thread, 3 from coroutines), burns CPU with labels set for a while, writes one file of each kind
 * into FOLDER, prints the address, and ends when its standard input does.
 */
#include "http_burn.h"

#include <copper/chan.h>
#include <copper/go.h>
#include <copper/label.h>
#include <copper/profiler.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <copper/trace.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BURN_NS (400 * COPPER_MS)

static struct cu_profile *connections;
static const char *folder;
static char values[7];
static cu_chan *never;

static struct cu_profile_to file_of(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return cu_to_file(path);
}

static void need(int err, const char *what)
{
    if (err < 0) {
        fprintf(stderr, "%s: %s\n", what, strerror(-err));
        exit(1);
    }
}

__attribute__((noinline)) static void open_connection(void *value)
{
    need(cu_profile_add(connections, value, 0), "add");
    burn_sink++;
}

static void hold_one(void *value)
{
    COPPER_LABEL_SCOPE("stage", "waiting");
    open_connection(value);
    cu_recv(never, NULL);
}

__attribute__((noinline)) static void burn_for(int64_t ns)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    int64_t end_ns = t.tv_sec * COPPER_SEC + t.tv_nsec + ns;
    do {
        burn_once();
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    } while (t.tv_sec * COPPER_SEC + t.tv_nsec < end_ns);
    burn_sink++;
}

__attribute__((noinline)) static void burn_labelled(void *unused)
{
    (void)unused;
    burn_for(BURN_NS);
    burn_sink++;
}

__attribute__((noinline)) static void burn_plain(void)
{
    burn_for(BURN_NS);
    burn_sink++;
}

/* One coroutine inherits the label, another is started after its end. */
static int burn_in_scopes(void *unused)
{
    (void)unused;
    cu_wg wg = {0};
    {
        COPPER_LABEL_SCOPE("stage", "hot");
        cu_wg_go(&wg, burn_labelled, NULL);
        burn_labelled(NULL);
        cu_wg_wait(&wg);
    }
    burn_plain();
    return 0;
}

static void sleep_a_little(void *unused)
{
    for (int i = 0; i < 40; i++) {
        cu_sleep(10 * COPPER_MS);
    }
    (void)unused;
}

int main(int argc, char **argv)
{
    struct cu_profile_options window = {COPPER_PROFILE_OPTIONS, .window_ns = 200 * COPPER_MS};
    struct cu_profile_options text = {COPPER_PROFILE_OPTIONS, .debug = 1};
    struct cu_profile_options dump = {COPPER_PROFILE_OPTIONS, .debug = 2};
    struct cu_cpu_profile *cpu;
    struct cu_trace *trace;
    char path[512];
    if (argc != 2) {
        return 2;
    }
    folder = argv[1];
    never = cu_chan_new(0, 0);
    need(cu_pprof_serve("127.0.0.1:0"), "serve");
    need(cu_profile_new("my-connections", &connections), "new");
    for (volatile int i = 0; i < 4; i++) { /* volatile: one call, not four */
        open_connection(&values[i]);
    }
    for (int i = 4; i < 7; i++) {
        cu_go(hold_one, &values[i]);
    }
    snprintf(path, sizeof path, "%s/trace", folder);
    need(cu_trace_start_file(path, &trace), "trace");
    need(cu_profile_cpu_start(500, &cpu), "cpu start");
    cu_run(burn_in_scopes, NULL);
    need(cu_profile_cpu_stop(cpu, file_of("profile.pb.gz")), "cpu stop");
    need(cu_trace_stop(trace), "trace stop");
    cu_go(sleep_a_little, NULL);
    need(cu_profile_write("block", file_of("block.pb.gz"), &window), "block");
    need(cu_profile_write("wall", file_of("wall.pb.gz"), &window), "wall");
    need(cu_profile_write("trace", file_of("trace.window"), &window), "trace window");
    static const char *const names[] = {"allocs", "goroutine", "heap", "hog", "mutex",
                                        "schedule", "threadcreate", "my-connections"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s.pb.gz", names[i]);
        need(cu_profile_write(names[i], file_of(name), NULL), names[i]);
        snprintf(name, sizeof name, "%s.txt", names[i]);
        need(cu_profile_write(names[i], file_of(name), &text), names[i]);
    }
    need(cu_profile_write("goroutine", file_of("goroutine.dump"), &dump), "dump");
    printf("%s\n", cu_pprof_address());
    fflush(stdout);
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0) {
        cu_profile_remove(connections, &values[0]);
        printf("removed\n");
        fflush(stdout);
    }
    return 0;
}
