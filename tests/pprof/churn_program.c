/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a program that never stays as it is, to be profiled all the time: churn_program LIBRARY LIBRARY.
 * Threads are born, allocate, burn and end; coroutines are spawned, wait for each other and end; two
 * libraries take each other's place, which is one of many. Prints the address; at the first line of input all that stops, and it
 * prints "coroutines N threads N opens N". Ends with its input.
 */
#include <copper/chan.h>
#include <copper/go.h>
#include <copper/profiler.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define BATCH   64
#define PLACES  64         /* of libraries */
#define LIBRARY (5u << 12) /* bytes that one takes */

static atomic_bool is_over;
static atomic_long coroutines, threads, opens;
static atomic_ulong sink;
static cu_mutex mutex;
static cu_chan *numbers, *ended;

__attribute__((noinline)) static void burn(int64_t ns)
{
    struct timespec t;
    uint64_t x = 1;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    int64_t end = t.tv_sec * 1000000000 + t.tv_nsec + ns;
    do {
        for (int i = 0; i < 5000; i++) {
            x = x * 6364136223846793005u + 1;
        }
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    } while (t.tv_sec * 1000000000 + t.tv_nsec < end);
    atomic_store_explicit(&sink, x, memory_order_relaxed);
}

__attribute__((noinline)) static void allocate(unsigned *seed)
{
    void *blocks[32];
    for (int i = 0; i < 32; i++) {
        size_t n = (size_t)(rand_r(seed) % 20000) + 1;
        blocks[i] = malloc(n);
        if (blocks[i]) {
            memset(blocks[i], 1, n < 64 ? n : 64);
        }
    }
    for (int i = 0; i < 32; i++) {
        free(blocks[i]);
    }
}

/* ---- threads --------------------------------------------------------------------------------- */

static void *live_shortly(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    allocate(&seed);
    burn(rand_r(&seed) % 3000000);
    return NULL;
}

static void *spawn_threads(void *arg)
{
    while (!is_over) {
        pthread_t both[2];
        int n = 0;
        while (n < 2 && pthread_create(&both[n], NULL, live_shortly, (void *)(uintptr_t)threads) == 0) {
            n++;
            threads++;
        }
        while (n > 0) {
            pthread_join(both[--n], NULL);
        }
        usleep(500);
    }
    return arg;
}

/* ---- libraries ------------------------------------------------------------------------------- */

static void *change_libraries(void *paths)
{
    char **path = paths;
    void *taken[PLACES] = {NULL};
    for (int i = 0; !is_over; i++) {
        void *library = dlopen(path[i % 2], RTLD_NOW | RTLD_LOCAL);
        if (!library) {
            fprintf(stderr, "%s\n", dlerror());
            exit(1);
        }
        opens++;
        volatile int who;
        int (*spin)(volatile int *, unsigned) =
            (int (*)(volatile int *, unsigned))dlsym(library, "spin");
        spin(&who, 100000);
        struct link_map *map = library;
        void *was_at = (void *)map->l_addr;
        dlclose(library);
        /* for a while, no other comes there */
        void **place = &taken[i % PLACES];
        if (*place) {
            munmap(*place, LIBRARY);
        }
        *place = mmap(was_at, LIBRARY, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
                      -1, 0);
        *place = *place == MAP_FAILED ? NULL : *place;
        usleep(1000);
    }
    return NULL;
}

/* ---- coroutines ------------------------------------------------------------------------------ */

static void play(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    int n = 1;
    allocate(&seed);
    cu_mutex_lock(&mutex);
    cu_yield();
    cu_mutex_unlock(&mutex);
    if ((uintptr_t)arg % 2) {
        cu_send(numbers, &n);
    } else {
        cu_recv(numbers, &n);
    }
    cu_sleep(rand_r(&seed) % 2 * COPPER_MS);
    cu_send(ended, &n);
}

static int spawn_coroutines(void *arg)
{
    (void)arg;
    numbers = cu_chan_new(sizeof(int), 0);
    ended = cu_chan_new(sizeof(int), BATCH);
    while (!is_over) {
        for (uintptr_t i = 0; i < BATCH; i++) {
            coroutines += cu_go(play, (void *)i) > 0;
        }
        for (int i = 0, n; i < BATCH; i++) {
            cu_recv(ended, &n);
        }
        cu_sleep(COPPER_MS);
    }
    cu_chan_unref(numbers);
    cu_chan_unref(ended);
    return 0;
}

static void *run_coroutines(void *arg)
{
    cu_run(spawn_coroutines, arg);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 3 || cu_profile_block_rate(1000) || cu_profile_mutex_fraction(1) ||
        cu_profile_schedule_rate(1000) ||
        (!cu_pprof_address() && cu_pprof_serve("127.0.0.1:0") != 0)) {
        return 2;
    }
    printf("%s\n", cu_pprof_address());
    fflush(stdout);
    pthread_t t[3];
    pthread_create(&t[0], NULL, spawn_threads, NULL);
    pthread_create(&t[1], NULL, change_libraries, argv + 1);
    pthread_create(&t[2], NULL, run_coroutines, NULL);
    char line[16];
    char *got = fgets(line, sizeof line, stdin);
    is_over = true;
    for (int i = 0; i < 3; i++) {
        pthread_join(t[i], NULL);
    }
    printf("coroutines %ld threads %ld opens %ld\n", (long)coroutines, (long)threads, (long)opens);
    fflush(stdout);
    while (got && fgets(line, sizeof line, stdin)) {
    }
    return 0;
}
