/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a program that does what no table of the profiler has room for, as often as it is told:
 * bounds_program WHAT [LIBRARY LIBRARY]. Prints the address, then obeys lines "N" of its input, and
 * answers each with "done". WHAT is one of
 *
 *     stacks      for N seconds, threads burn in stacks that are deep and never come again
 *     threads     N threads, each with a name of its own, burn for a moment
 *     labels      N sets of labels that were not there before, which a block is allocated under
 *     libraries   N times a library is loaded where none was before, seen, called, and unloaded
 */
#include <copper/heap.h>
#include <copper/label.h>
#include <copper/profiler.h>
#include <copper/stacks.h>
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define DEPTH    480 /* of 512 frames that a stack can have */
#define BURNERS  6
#define TOGETHER 8          /* threads */
#define LIBRARY  (5u << 12) /* bytes that a library takes */

static __thread volatile uint64_t sink;
static char **libraries;

static int64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000 + t.tv_nsec;
}

static __attribute__((noinline)) void burn(int64_t ns)
{
    int64_t end = now_ns(CLOCK_THREAD_CPUTIME_ID) + ns;
    while (now_ns(CLOCK_THREAD_CPUTIME_ID) < end) {
        for (uint64_t i = 0; i < 2000; i++) {
            sink = sink * 6364136223846793005u + 1;
        }
    }
}

/* ---- stacks ---------------------------------------------------------------------------------- */

struct way {
    uint64_t state;
    int depth;
};

static void left(struct way *w), right(struct way *w);

static inline void go_on(struct way *w)
{
    w->state = w->state * 6364136223846793005u + 1442695040888963407u;
    if (w->depth-- == 0) {
        burn(200000);
    } else if (w->state >> 63) {
        right(w);
    } else {
        left(w);
    }
    __asm__ volatile(""); /* no call is the last thing */
}

static __attribute__((noinline)) void left(struct way *w)
{
    go_on(w);
}

static __attribute__((noinline)) void right(struct way *w)
{
    go_on(w);
    sink++; /* other code than left */
}

static void *burn_deep(void *end_ns)
{
    static _Atomic uint64_t number;
    while (now_ns(CLOCK_MONOTONIC) < *(int64_t *)end_ns) {
        struct way w = {.state = ++number * 0x9e3779b97f4a7c15u, .depth = DEPTH};
        left(&w);
    }
    return NULL;
}

static void stacks(long n)
{
    pthread_t t[BURNERS];
    int64_t end_ns = now_ns(CLOCK_MONOTONIC) + n * 1000000000;
    for (int i = 0; i < BURNERS; i++) {
        pthread_create(&t[i], NULL, burn_deep, &end_ns);
    }
    for (int i = 0; i < BURNERS; i++) {
        pthread_join(t[i], NULL);
    }
}

/* ---- threads --------------------------------------------------------------------------------- */

static void *burn_named(void *number)
{
    char name[16];
    snprintf(name, sizeof name, "%lx", (unsigned long)(uintptr_t)number);
    pthread_setname_np(pthread_self(), name);
    burn((uintptr_t)number % 64 ? 1000 : 5000000);
    return NULL;
}

static void threads(long n)
{
    static uintptr_t number;
    while (n > 0) {
        pthread_t t[TOGETHER];
        int started = 0;
        while (started < TOGETHER && n > 0 &&
               pthread_create(&t[started], NULL, burn_named, (void *)++number) == 0) {
            started++;
            n--;
        }
        while (started > 0) {
            pthread_join(t[--started], NULL);
        }
    }
}

/* ---- labels ---------------------------------------------------------------------------------- */

static void labels(long n)
{
    static long number;
    for (; n > 0; n--) {
        char value[32];
        snprintf(value, sizeof value, "%ld", number++);
        cu_label_set("request", value);
        void *volatile block = malloc(600);
        free(block);
    }
    cu_label_set("request", NULL);
}

/* ---- libraries ------------------------------------------------------------------------------- */

static void libraries_come_and_go(long n)
{
    for (long i = 0; i < n; i++) {
        void *library = dlopen(libraries[i % 2], RTLD_NOW | RTLD_LOCAL);
        int (*spin)(volatile int *, unsigned) = library ? dlsym(library, "spin") : NULL;
        volatile int who;
        if (!spin) {
            fprintf(stderr, "%s\n", dlerror());
            exit(1);
        }
        cu_stacks_prepare(); /* it is seen, however short its life */
        spin(&who, 200000);
        struct link_map *map = library;
        void *was_at = (void *)map->l_addr;
        dlclose(library);
        /* where it was, no other will be */
        mmap(was_at, LIBRARY, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*act)(long n);
    } all[] = {{"stacks", stacks},
               {"threads", threads},
               {"labels", labels},
               {"libraries", libraries_come_and_go}};
    void (*act)(long n) = NULL;
    for (size_t i = 0; argc > 1 && i < sizeof all / sizeof all[0]; i++) {
        act = strcmp(argv[1], all[i].name) == 0 ? all[i].act : act;
    }
    if (!act || (!cu_pprof_address() && cu_pprof_serve("127.0.0.1:0") != 0)) {
        return 2;
    }
    libraries = argv + 2;
    printf("%s\n", cu_pprof_address());
    fflush(stdout);
    for (char line[32]; fgets(line, sizeof line, stdin);) {
        act(strtol(line, NULL, 10));
        printf("done\n");
        fflush(stdout);
    }
    return 0;
}
