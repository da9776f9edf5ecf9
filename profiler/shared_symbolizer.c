/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see shared_symbolizer.h.
 */
#include "shared_symbolizer.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

struct shared {
    struct cu_symbolizer *symbolizer;
    unsigned users;
    struct shared *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct shared *all; /* lock; the first is the one that is given out, if is_current */
static bool is_current;    /* lock */
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Other threads may have been anywhere: what they used is left alone. */
static void forget_in_child(void)
{
    pthread_mutex_init(&lock, NULL);
    all = NULL;
    is_current = false;
}

static void watch_fork(void)
{
    pthread_atfork(NULL, NULL, forget_in_child);
}

/* lock held. */
static void close_unused(void)
{
    for (struct shared **at = &all; *at;) {
        struct shared *one = *at;
        if (one->users == 0 && !(is_current && one == all)) {
            *at = one->next;
            cu_symbolizer_close(one->symbolizer);
            free(one);
        } else {
            at = &one->next;
        }
    }
}

/* lock held. */
static bool open_one(void)
{
    struct shared *one = calloc(1, sizeof *one);
    struct cu_symbolizer *s = one ? cu_symbolizer_open() : NULL;
    if (!s) {
        free(one);
        return false;
    }
    *one = (struct shared){.symbolizer = s, .next = all};
    all = one;
    is_current = true;
    return true;
}

struct cu_symbolizer *cu__symbolizer_borrow(void)
{
    struct cu_symbolizer *s = NULL;
    pthread_once(&once, watch_fork);
    pthread_mutex_lock(&lock);
    if (is_current && cu_symbolizer_is_outgrown(all->symbolizer)) {
        is_current = false;
        close_unused();
    }
    if (is_current || open_one()) {
        all->users++;
        s = all->symbolizer;
    }
    pthread_mutex_unlock(&lock);
    return s;
}

size_t cu__symbolizer_frames(void)
{
    size_t n = 0;
    pthread_mutex_lock(&lock);
    for (struct shared *one = all; one; one = one->next) {
        n += cu_symbolizer_size(one->symbolizer);
    }
    pthread_mutex_unlock(&lock);
    return n;
}

void cu__symbolizer_return(struct cu_symbolizer *s)
{
    pthread_mutex_lock(&lock);
    for (struct shared *one = s ? all : NULL; one; one = one->next) {
        one->users -= one->symbolizer == s;
    }
    close_unused();
    pthread_mutex_unlock(&lock);
}
