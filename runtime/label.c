/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: label sets: immutable, interned, alive for ever.
 *
 * Design: setting a label builds the new set in a buffer on the stack, looks it up among all sets
 * by content and adds it if it is new. Equal sets are one object, so tools compare pointers.
 *
 * Concurrency: sets.lock guards the table; a set is never changed once it is in it. A set's pointer
 * is stored with release order, for inspectors that read it while its coroutine runs.
 * fork: the lock is held over a fork by the handlers below, so that the child finds it free.
 */
#include <copper/inspect.h>
#include <copper/label.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tls.h"

#define BUCKETS 4096u

struct cu_labels {
    struct cu_labels *next; /* lock */
    uint64_t hash;
    size_t count;
    const char *strings[]; /* key, value, key, value, ... in order of keys; the bytes follow */
};

/* A set being put together: pointers into other sets or the caller's strings. */
struct draft {
    size_t count;
    const char *strings[2 * COPPER_LABELS_MAX];
};

static struct {
    struct cu__lock lock;
    uint32_t count;   /* changed under lock */
    uint64_t refused; /* changed under lock */
    struct cu_labels *buckets[BUCKETS];
} sets;

size_t cu_labels_count(const struct cu_labels *l)
{
    return l ? l->count : 0;
}

const char *cu_labels_key(const struct cu_labels *l, size_t i)
{
    return i < cu_labels_count(l) ? l->strings[2 * i] : NULL;
}

const char *cu_labels_value(const struct cu_labels *l, size_t i)
{
    return i < cu_labels_count(l) ? l->strings[2 * i + 1] : NULL;
}

static const struct cu_labels *current(void)
{
    struct cu__g *g = cu__g_self();
    return g ? g->labels : cu__thread_labels();
}

static void set_current(const struct cu_labels *labels)
{
    struct cu__g *g = cu__g_self();
    if (g) {
        store_release(&g->labels, labels);
    } else {
        cu__thread_labels_set(labels);
    }
}

/* `old` with key set to value, or without it. */
static int make_draft(struct draft *d, const struct cu_labels *old, const char *key,
                      const char *value)
{
    bool is_placed = value == NULL;
    d->count = 0;
    for (size_t i = 0; i <= cu_labels_count(old); i++) {
        const char *old_key = cu_labels_key(old, i);
        int order = old_key ? strcmp(key, old_key) : -1;
        if (!is_placed && order <= 0) {
            if (d->count == COPPER_LABELS_MAX) {
                return -E2BIG;
            }
            d->strings[2 * d->count] = key;
            d->strings[2 * d->count++ + 1] = value;
            is_placed = true;
        }
        if (old_key && order != 0) {
            if (d->count == COPPER_LABELS_MAX) {
                return -E2BIG;
            }
            d->strings[2 * d->count] = old_key;
            d->strings[2 * d->count++ + 1] = cu_labels_value(old, i);
        }
    }
    return 0;
}

static uint64_t hash_draft(const struct draft *d)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < 2 * d->count; i++) {
        const char *s = d->strings[i];
        do {
            hash = (hash ^ (unsigned char)*s) * 0x100000001b3u;
        } while (*s++);
    }
    return hash;
}

static bool equals(const struct cu_labels *set, const struct draft *d, uint64_t hash)
{
    if (set->hash != hash || set->count != d->count) {
        return false;
    }
    for (size_t i = 0; i < 2 * d->count; i++) {
        if (strcmp(set->strings[i], d->strings[i]) != 0) {
            return false;
        }
    }
    return true;
}

static struct cu_labels *make_set(const struct draft *d, uint64_t hash)
{
    size_t bytes = 0, head = sizeof(struct cu_labels) + 2 * d->count * sizeof(char *);
    for (size_t i = 0; i < 2 * d->count; i++) {
        bytes += strlen(d->strings[i]) + 1;
    }
    struct cu_labels *set = malloc(head + bytes);
    if (set == NULL) {
        return NULL;
    }
    char *end = (char *)set + head;
    set->hash = hash;
    set->count = d->count;
    for (size_t i = 0; i < 2 * d->count; i++) {
        set->strings[i] = end;
        end = stpcpy(end, d->strings[i]) + 1;
    }
    return set;
}

static void lock_for_fork(void)
{
    cu__lock_take(&sets.lock);
}

static void unlock_after_fork(void)
{
    cu__lock_drop(&sets.lock);
}

__attribute__((constructor)) static void prepare_for_fork(void)
{
    pthread_atfork(lock_for_fork, unlock_after_fork, unlock_after_fork);
}

static int intern(const struct draft *d, const struct cu_labels **out)
{
    uint64_t hash = hash_draft(d);
    struct cu_labels **bucket = &sets.buckets[hash % BUCKETS];
    int error = 0;
    *out = NULL;
    if (d->count == 0) {
        return 0;
    }
    cu__lock_take(&sets.lock);
    struct cu_labels *set = *bucket;
    while (set && !equals(set, d, hash)) {
        set = set->next;
    }
    if (set == NULL && sets.count == COPPER_LABEL_SETS_MAX) {
        error = -ENOSPC;
        add_relaxed(&sets.refused, 1);
    } else if (set == NULL) {
        set = make_set(d, hash);
        error = set ? 0 : -ENOMEM;
        if (set) {
            set->next = *bucket;
            *bucket = set;
            add_relaxed(&sets.count, 1);
        }
    }
    cu__lock_drop(&sets.lock);
    *out = set;
    return error;
}

void cu__label_stats(struct cu_runtime_stats *out)
{
    out->label_sets = load_relaxed(&sets.count);
    out->label_sets_refused = load_relaxed(&sets.refused);
}

int cu_label_set(const char *key, const char *value)
{
    struct draft draft;
    const struct cu_labels *set;
    if (key == NULL || *key == 0) {
        return -EINVAL;
    }
    if (value && *value == 0) {
        value = NULL;
    }
    if (strlen(key) > COPPER_LABEL_BYTES_MAX || (value && strlen(value) > COPPER_LABEL_BYTES_MAX)) {
        return -ENAMETOOLONG;
    }
    int error = make_draft(&draft, current(), key, value);
    if (error == 0) {
        error = intern(&draft, &set);
    }
    if (error == 0) {
        set_current(set);
    }
    return error;
}

struct cu_label_scope cu_label_push(const char *key, const char *value)
{
    struct cu_label_scope scope = {.before = current()};
    scope.err = cu_label_set(key, value);
    return scope;
}

void cu_label_pop(const struct cu_label_scope *scope)
{
    set_current(scope->before);
}

const char *cu_label_get(const char *key)
{
    const struct cu_labels *set = current();
    for (size_t i = 0; i < cu_labels_count(set); i++) {
        if (strcmp(set->strings[2 * i], key) == 0) {
            return set->strings[2 * i + 1];
        }
    }
    return NULL;
}
