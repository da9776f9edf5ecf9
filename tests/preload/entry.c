/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the stack of a new thread, seen from its start routine: the C library called it, and nobody
 * is in between. Prints "posix" and "c11" when so. Also: a detached thread, a thread with attributes,
 * a thousand threads at once, and creation that fails.
 */
#include <dlfcn.h>
#include <execinfo.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <threads.h>
#include <unistd.h>

#define DEPTH   16
#define THREADS 1500 /* more than a table of ours might hold */

/* frame[1] is the start routine, frame[2] who called it. */
static bool is_called_by_libc(const char *who)
{
    void *frame[DEPTH];
    Dl_info caller;
    int n = backtrace(frame, DEPTH);
    for (int i = 0; i < n; i++) {
        if (dladdr(frame[i], &caller) && strstr(caller.dli_fname, "copper_p")) {
            fprintf(stderr, "%s: frame %d of %d is in %s\n", who, i, n, caller.dli_fname);
            return false;
        }
    }
    if (n < 3 || !dladdr(frame[2], &caller) || !strstr(caller.dli_fname, "libc.so")) {
        fprintf(stderr, "%s: %d frames, called from %s\n", who, n, n < 3 ? "?" : caller.dli_fname);
        return false;
    }
    return true;
}

__attribute__((noinline)) static void *posix(void *arg)
{
    *(bool *)arg = is_called_by_libc("posix");
    return arg;
}

__attribute__((noinline)) static int c11(void *arg)
{
    *(bool *)arg = is_called_by_libc("c11");
    return 5;
}

static atomic_int waiting;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void *wait_at_gate(void *arg)
{
    atomic_fetch_add(&waiting, 1);
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
    return arg;
}

static int crowd(void)
{
    static pthread_t thread[THREADS];
    static char token[THREADS];
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 4 * (size_t)PTHREAD_STACK_MIN);
    pthread_mutex_lock(&gate);
    int made = 0, wrong = 0;
    while (made < THREADS && pthread_create(&thread[made], &attr, wait_at_gate, &token[made]) == 0) {
        made++;
    }
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < made; i++) {
        void *got;
        wrong += pthread_join(thread[i], &got) != 0 || got != &token[i];
    }
    printf("crowd %s\n", made == THREADS && wrong == 0 && waiting == THREADS ? "good" : "bad");
    return made == THREADS && wrong == 0;
}

/* A stack larger than the address space: the call fails, many times, and later ones work. */
static bool failing(void)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, (size_t)1 << 50);
    pthread_t t;
    int failed = 0;
    for (int i = 0; i < 2 * THREADS; i++) {
        failed += pthread_create(&t, &attr, wait_at_gate, NULL) != 0;
    }
    printf("failing %s\n", failed == 2 * THREADS ? "good" : "bad");
    return failed == 2 * THREADS;
}

int main(void)
{
    pthread_t p;
    thrd_t c;
    bool is_posix_good = false, is_c11_good = false;
    int result = 0;
    void *got = NULL;
    pthread_create(&p, NULL, posix, &is_posix_good);
    pthread_join(p, &got);
    thrd_create(&c, c11, &is_c11_good);
    thrd_join(c, &result);
    if (is_posix_good && got == &is_posix_good) {
        puts("posix");
    }
    if (is_c11_good && result == 5) {
        puts("c11");
    }
    fflush(stdout);
    return failing() && crowd() ? 0 : 1;
}
