/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see process_labels.h.
 */
#include "process_labels.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pair {
    char key[COPPER_PROCESS_LABEL_MAX + 1], value[COPPER_PROCESS_LABEL_MAX + 1];
};

struct pairs {
    struct pair at[COPPER_PROCESS_LABELS_MAX];
    size_t n;
};

static struct pairs process;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static bool has_key(const struct pairs *p, const char *key)
{
    for (size_t i = 0; i < p->n; i++) {
        if (strcmp(p->at[i].key, key) == 0) {
            return true;
        }
    }
    return false;
}

/* Whether n bytes are letters, digits and . _ - /, as engines take label names. */
static bool is_name(const char *s, size_t n)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/";
    return n > 0 && strspn(s, allowed) >= n;
}

/* Enters one KEY=VALUE of n bytes; what is wrong with it goes to line. */
static void parse_pair(struct pairs *out, const char *s, size_t n, char *line, size_t cap)
{
    const char *equals = memchr(s, '=', n);
    size_t nkey = equals ? (size_t)(equals - s) : n, nvalue = equals ? n - nkey - 1 : 0;
    const char *why = NULL;
    struct pair pair;
    if (!equals || nvalue == 0) {
        why = "has no value; write KEY=VALUE";
    } else if (!is_name(s, nkey)) {
        why = "has a key that is no name (letters, digits, . _ - /)";
    } else if (nkey > COPPER_PROCESS_LABEL_MAX || nvalue > COPPER_PROCESS_LABEL_MAX) {
        why = "is longer than 128 bytes";
    } else if (out->n == COPPER_PROCESS_LABELS_MAX) {
        why = "is one more than 16";
    } else {
        snprintf(pair.key, sizeof pair.key, "%.*s", (int)nkey, s);
        snprintf(pair.value, sizeof pair.value, "%.*s", (int)nvalue, equals + 1);
        why = has_key(out, pair.key) ? "is there twice" : NULL;
    }
    if (!why) {
        out->at[out->n++] = pair;
    } else if (!line[0]) {
        snprintf(line, cap, "COPPER_LABELS: \"%.*s\" %s", n < 60 ? (int)n : 60, s, why);
    }
}

static void parse(struct pairs *out, const char *text, char *line, size_t cap)
{
    line[0] = '\0';
    while (text && *text) {
        size_t n = strcspn(text, ",");
        parse_pair(out, text, n, line, cap);
        text += n + (text[n] == ',');
    }
}

static void read_once(void)
{
    char line[256];
    parse(&process, secure_getenv("COPPER_LABELS"), line, sizeof line);
    for (size_t i = 0; i < process.n && process.n < COPPER_PROCESS_LABELS_MAX; i++) {
        if (strcmp(process.at[i].key, "service") == 0 && !has_key(&process, "service_name")) {
            struct pair *named = &process.at[process.n++];
            *named = process.at[i];
            snprintf(named->key, sizeof named->key, "service_name");
        }
    }
}

size_t cu__process_labels(struct cu_pprof_label *labels, size_t n, size_t cap)
{
    pthread_once(&once, read_once);
    size_t own = n;
    for (size_t i = 0; i < process.n && n < cap; i++) {
        bool is_there = false;
        for (size_t j = 0; j < own; j++) {
            is_there |= strcmp(labels[j].key, process.at[i].key) == 0;
        }
        if (!is_there) {
            labels[n++] =
                (struct cu_pprof_label){.key = process.at[i].key, .str = process.at[i].value};
        }
    }
    return n;
}

void cu__process_labels_check(const char *text, char *line, size_t cap)
{
    struct pairs pairs = {.n = 0};
    parse(&pairs, text, line, cap);
}
