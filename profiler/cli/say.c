/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: lines on stderr, and the guess at what was meant by a misspelt word.
 */
#include "cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define COPPER_WORD_MAX      32
#define COPPER_NEAR_DISTANCE 2 /* letters that may differ */

static bool is_silent;

void cu__quiet(bool is_quiet)
{
    is_silent = is_quiet;
}

static void say(const char *format, va_list args)
{
    char line[4096];
    vsnprintf(line, sizeof line, format, args);
    fprintf(stderr, "copper: %s\n", line); /* one write: stderr may be shared with the program */
}

void cu__note(const char *format, ...)
{
    if (is_silent) {
        return;
    }
    va_list args;
    va_start(args, format);
    say(format, args);
    va_end(args);
}

void cu__error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(format, args);
    va_end(args);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Insertions, deletions and changes between two words. */
static size_t distance(const char *a, const char *b)
{
    size_t n = strlen(b), row[COPPER_WORD_MAX + 1];
    if (n > COPPER_WORD_MAX || strlen(a) > COPPER_WORD_MAX) {
        return COPPER_WORD_MAX;
    }
    for (size_t j = 0; j <= n; j++) {
        row[j] = j;
    }
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = least(change, least(row[j], row[j - 1]) + 1);
        }
    }
    return row[n];
}

const char *cu__nearest(const char *word, const char *const *names)
{
    const char *best = NULL;
    size_t best_distance = COPPER_NEAR_DISTANCE + 1;
    for (; *names; names++) {
        size_t d = distance(word, *names);
        if (d < best_distance) {
            best = *names;
            best_distance = d;
        }
    }
    return best;
}
