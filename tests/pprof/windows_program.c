/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: waits, contended locks and delays that the program counts itself, by a table of hooks of
 * its own, and serves. Prints the address, then obeys lines of its input and answers each with one
 * line:
 *
 *     work N       N rounds of sleeps, contentions and messages, by coroutines that then have ended
 *     rates N      block, mutex and schedule at rate N; 0: off
 *     clients N    that many threads take short windows of all three from now on
 *     toggle 0|1   a thread turns the rates on and off from now on
 *     count 0      nothing
 *
 * The answer is what was counted since the start: "KIND COUNT NS" of sleep, of those sleeps
 * that were shorter than what a window tells for certain, of block, mutex and schedule.
 */
#include <copper/chan.h>
#include <copper/go.h>
#include <copper/hooks.h>
#include <copper/inspect.h>
#include <copper/profile.h>
#include <copper/profiler.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLEEPERS       4
#define PAIRS          4
#define SLEEP_NS       (2 * COPPER_MS)
#define CLIENTS_MAX    16
#define WINDOW_RATE_NS 10000 /* of shorter waits a window draws some */

/* ---- what happened --------------------------------------------------------------------------- */

struct sum {
    _Atomic int64_t count, ns;
};
static struct sum sleeps, brief, blocks, unlocks, delays;

static void add(struct sum *s, int64_t ns)
{
    s->count++;
    s->ns += ns;
}

static void on_waited(void *tool, int64_t now, const struct cu_resume *resume, int64_t waited_ns,
                      int64_t rate_ns)
{
    (void)tool, (void)now, (void)rate_ns;
    add(&blocks, waited_ns);
    if (resume->reason == COPPER_WAIT_SLEEP) {
        add(&sleeps, waited_ns);
        if (waited_ns < WINDOW_RATE_NS) {
            add(&brief, waited_ns); /* its time had come before it stopped */
        }
    }
}

static void on_running(void *tool, int64_t now, const struct cu_resume *resume)
{
    (void)tool;
    if (resume->ready_ns && now > resume->ready_ns) {
        add(&delays, now - resume->ready_ns);
    }
}

static void on_released(void *tool, int64_t now, cu_id g, const void *object, int64_t waited_ns)
{
    (void)tool, (void)now, (void)g, (void)object;
    add(&unlocks, waited_ns);
}

static const struct cu_hooks counting = {.version = COPPER_HOOKS_VERSION,
                                         .size = sizeof(counting),
                                         .waited = on_waited,
                                         .running = on_running,
                                         .released = on_released,
                                         .options = COPPER_HOOKS_NO_CPU_TIME};

static void answer(void)
{
    printf("sleep %ld %ld brief %ld %ld block %ld %ld mutex %ld %ld schedule %ld %ld\n",
           sleeps.count, sleeps.ns, brief.count, brief.ns, blocks.count, blocks.ns, unlocks.count,
           unlocks.ns, delays.count, delays.ns);
    fflush(stdout);
}

/* ---- work ------------------------------------------------------------------------------------ */

static int rounds;
static cu_mutex mutex;

static void sleep_often(void *unused)
{
    (void)unused;
    for (int i = 0; i < rounds; i++) {
        cu_sleep(SLEEP_NS);
    }
}

static void contend(void *unused)
{
    (void)unused;
    for (int i = 0; i < rounds; i++) {
        cu_mutex_lock(&mutex);
        cu_sleep(COPPER_MS / 2);
        cu_mutex_unlock(&mutex);
    }
}

static void send_all(void *c)
{
    for (int i = 0; i < 20 * rounds; i++) {
        cu_send(c, &i);
        if (i % 20 == 0) {
            cu_sleep(COPPER_MS);
        }
    }
}

static void receive_all(void *c)
{
    for (int i = 0, got; i < 20 * rounds; i++) {
        cu_recv(c, &got);
    }
}

static int run_work(void *unused)
{
    (void)unused;
    cu_wg wg = {0};
    cu_chan *chans[PAIRS];
    for (int i = 0; i < SLEEPERS; i++) {
        cu_wg_go(&wg, sleep_often, NULL);
    }
    for (int i = 0; i < PAIRS; i++) {
        chans[i] = cu_chan_new(sizeof(int), 0);
        cu_wg_go(&wg, send_all, chans[i]);
        cu_wg_go(&wg, receive_all, chans[i]);
        cu_wg_go(&wg, contend, NULL);
    }
    cu_wg_wait(&wg);
    for (int i = 0; i < PAIRS; i++) {
        cu_chan_unref(chans[i]);
    }
    return 0;
}

/* ---- clients --------------------------------------------------------------------------------- */

static pthread_t clients[CLIENTS_MAX], toggler;
static int clients_count;
static atomic_bool must_stop, is_toggling;

static void *take_windows(void *number)
{
    static const char *const kinds[] = {"block", "mutex", "schedule"};
    unsigned i = (unsigned)(uintptr_t)number;
    while (!must_stop) {
        void *bytes = NULL;
        size_t n;
        struct cu_profile_options options = {COPPER_PROFILE_OPTIONS,
                                             .window_ns = (1 + i % 7) * COPPER_MS};
        if (cu_profile_write(kinds[i++ % 3], cu_to_memory(&bytes, &n), &options) != 0) {
            abort();
        }
        free(bytes);
    }
    return NULL;
}

static void start_clients(int count)
{
    must_stop = true;
    for (int i = 0; i < clients_count; i++) {
        pthread_join(clients[i], NULL);
    }
    must_stop = false;
    for (clients_count = 0; clients_count < count && clients_count < CLIENTS_MAX;) {
        uintptr_t number = (uintptr_t)clients_count;
        pthread_create(&clients[clients_count++], NULL, take_windows, (void *)number);
    }
}

static void set_rates(int rate)
{
    cu_profile_block_rate(rate);
    cu_profile_mutex_fraction(rate);
    cu_profile_schedule_rate(rate);
}

static void *toggle(void *unused)
{
    for (int i = 0; is_toggling; i++) {
        set_rates(i % 2);
        usleep((useconds_t)(300 + i * 37 % 2000));
    }
    set_rates(0);
    return unused;
}

static void set_toggling(bool is_on)
{
    if (is_on == is_toggling) {
        return;
    }
    is_toggling = is_on;
    if (is_on) {
        pthread_create(&toggler, NULL, toggle, NULL);
    } else {
        pthread_join(toggler, NULL);
    }
}

static void obey(const char *what, int n)
{
    if (strcmp(what, "work") == 0) {
        rounds = n;
        cu_run(run_work, NULL);
        cu_quiesce(0, 20 * COPPER_SEC);
    } else if (strcmp(what, "rates") == 0) {
        set_rates(n);
    } else if (strcmp(what, "clients") == 0) {
        start_clients(n);
    } else if (strcmp(what, "toggle") == 0) {
        set_toggling(n != 0);
    }
    answer();
}

int main(void)
{
    char line[64], what[16];
    int n;
    if (cu_hooks_attach(&counting, NULL) != 0 ||
        (!cu_pprof_address() && cu_pprof_serve("127.0.0.1:0") != 0)) {
        return 1;
    }
    printf("%s\n", cu_pprof_address());
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin) && sscanf(line, "%15s %d", what, &n) == 2) {
        obey(what, n);
    }
    set_toggling(false);
    start_clients(0);
    return 0;
}
