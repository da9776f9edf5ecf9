/* SPDX-License-Identifier: Apache-2.0 */
#include "environment.h"

#include <string.h>
#include <unistd.h>

static bool is_separator(char c)
{
    return c == ':' || c == ' ';
}

/* Whether the entry [start, end) of LD_PRELOAD names this file, in whatever folder. */
static bool entry_is(const char *start, const char *end, const char *file)
{
    const char *base = end;
    while (base > start && base[-1] != '/') {
        base--;
    }
    size_t n = strlen(file);
    return (size_t)(end - base) == n && memcmp(base, file, n) == 0;
}

/* Copies the entries to be kept over the list itself; never grows. What is left behind is wiped, since
 * /proc/PID/environ shows it. */
static void filter_list(char *list, const char *file)
{
    char *out = list, *list_end = list + strlen(list);
    for (char *at = list; *at != '\0';) {
        char *end = at;
        while (*end != '\0' && !is_separator(*end)) {
            end++;
        }
        char *next = *end == '\0' ? end : end + 1;
        if (end > at && !entry_is(at, end, file)) {
            if (out > list) {
                *out++ = ':';
            }
            memmove(out, at, (size_t)(end - at));
            out += end - at;
        }
        at = next;
    }
    memset(out, '\0', (size_t)(list_end - out));
}

void cu__environment_leave_preload(const char *file)
{
    static const char name[] = "LD_PRELOAD=";
    for (char **entry = environ; entry && *entry; entry++) {
        if (strncmp(*entry, name, sizeof name - 1) == 0) {
            char *list = *entry + sizeof name - 1;
            filter_list(list, file);
            if (*list == '\0') {
                cu__environment_remove(name);
            }
            return;
        }
    }
}

void cu__environment_remove(const char *prefix)
{
    size_t n = strlen(prefix);
    char **keep = environ;
    for (char **entry = environ; entry && *entry; entry++) {
        if (strncmp(*entry, prefix, n) != 0) {
            *keep++ = *entry;
        }
    }
    if (keep) {
        *keep = NULL;
    }
}

bool cu__environment_list_has(const char *list, const char *name)
{
    size_t n = strlen(name);
    while (*list != '\0') {
        size_t entry = strcspn(list, ",");
        if (entry == n && memcmp(list, name, n) == 0) {
            return true;
        }
        list += entry;
        list += *list == ',';
    }
    return false;
}
