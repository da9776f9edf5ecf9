/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: allocates known amounts from known functions, then serves until its input ends. Prints
 * the address, then one line "site bytes objects inuse" for each function.
 *
 *     heap_program MIB    that much in all over 20 functions; every fourth keeps 1/8 of it
 */
#include <copper/go.h>
#include <copper/label.h>
#include <copper/profiler.h>
#include <copper/sync.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SITES 20

static void *volatile sink;

/* A function of its own for each site. */
#define SITE(n)                                                                                    \
    __attribute__((noinline)) static void *site_##n(size_t bytes)                                  \
    {                                                                                              \
        void *p = n % 3 == 0 ? calloc(1, bytes) : malloc(bytes);                                   \
        sink = p; /* so that this is no tail call */                                               \
        return p;                                                                                  \
    }
SITE(0)
SITE(1)
SITE(2) SITE(3) SITE(4) SITE(5) SITE(6) SITE(7) SITE(8) SITE(9) SITE(10) SITE(11) SITE(12) SITE(13)
    SITE(14) SITE(15) SITE(16) SITE(17) SITE(18) SITE(19)

        static void *(*const sites[SITES])(size_t) = {site_0,  site_1,  site_2,  site_3,  site_4,
                                                      site_5,  site_6,  site_7,  site_8,  site_9,
                                                      site_10, site_11, site_12, site_13, site_14,
                                                      site_15, site_16, site_17, site_18, site_19};

static const size_t sizes[] = {48, 200, 1000, 4096, 20000, 65536, 300000, 1u << 20};

static uint64_t per_site;

static void allocate(int site)
{
    size_t bytes = sizes[site % 8];
    uint64_t objects = per_site / bytes, kept = site % 4 == 0 ? objects / 8 : 0;
    for (uint64_t i = 0; i < objects; i++) {
        void *p = sites[site](bytes);
        if (!p) {
            abort();
        }
        if (i >= kept) {
            free(p);
        }
    }
    printf("site_%d %llu %llu %llu\n", site, (unsigned long long)(objects * bytes),
           (unsigned long long)objects, (unsigned long long)(kept * bytes));
}

static void *in_thread(void *arg)
{
    for (int i = 0; i < 5; i++) {
        allocate(*(int *)arg + i);
    }
    return NULL;
}

static void in_coroutine(void *arg)
{
    cu_label_set("stage", "coroutine");
    in_thread(arg);
}

static int run(void *unused)
{
    static int first[] = {0, 5, 10, 15};
    pthread_t t;
    cu_wg wg = {0};
    in_thread(&first[0]);
    if (pthread_create(&t, NULL, in_thread, &first[1]) != 0) {
        return 1;
    }
    pthread_join(t, NULL);
    cu_wg_go(&wg, in_coroutine, &first[2]);
    cu_wg_wait(&wg);
    cu_wg_go(&wg, in_coroutine, &first[3]);
    cu_wg_wait(&wg);
    (void)unused;
    printf("done\n");
    fflush(stdout);
    char c;
    while (read(0, &c, 1) > 0) {
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 2 || cu_pprof_serve("127.0.0.1:0") != 0) {
        return 2;
    }
    printf("%s\n", cu_pprof_address());
    fflush(stdout);
    per_site = (strtoull(argv[1], NULL, 10) << 20) / SITES;
    return cu_run(run, NULL);
}
