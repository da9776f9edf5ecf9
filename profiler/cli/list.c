/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: `copper list`, and finding a process that serves by its pid or name.
 */
#include "targets.h"

#include "discovery.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the process calls itself; the file name of its program when that cannot be read. */
static void process_name(const struct cu__discovery_entry *e, char out[COPPER_NAME_MAX])
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/comm", (int)e->pid);
    FILE *f = fopen(path, "re");
    if (!f || !fgets(out, COPPER_NAME_MAX, f)) {
        const char *slash = strrchr(e->exe, '/');
        snprintf(out, COPPER_NAME_MAX, "%.*s", COPPER_NAME_MAX - 1, slash ? slash + 1 : e->exe);
    }
    out[strcspn(out, "\n")] = '\0';
    if (f) {
        fclose(f);
    }
}

static bool print_entry(const struct cu__discovery_entry *e, void *unused)
{
    (void)unused;
    char name[COPPER_NAME_MAX];
    process_name(e, name);
    printf("%s[%d] http://%s/debug/pprof/\n", name, (int)e->pid, e->address);
    return true;
}

int cu__list(const struct cu__options *o)
{
    (void)o;
    int n = cu__discovery_each(print_entry, NULL);
    if (n < 0) {
        cu__error("cannot look for processes that serve: %s", strerror(-n));
        return COPPER_EXIT_FAILED;
    }
    if (n == 0) {
        cu__note("no process serves; copper run starts one that does");
    }
    return 0;
}

struct search {
    const char *name;
    struct cu__target *out;
    int found;
};

static void fill(struct cu__target *out, const struct cu__discovery_entry *e)
{
    out->pid = e->pid;
    snprintf(out->address, sizeof out->address, "%s", e->address);
    process_name(e, out->name);
}

static bool match_name(const struct cu__discovery_entry *e, void *arg)
{
    struct search *s = arg;
    struct cu__target candidate;
    fill(&candidate, e);
    const char *slash = strrchr(e->exe, '/');
    if (strcmp(candidate.name, s->name) == 0 ||
        strcmp(slash ? slash + 1 : e->exe, s->name) == 0) {
        *s->out = candidate;
        s->found++;
    }
    return true;
}

int cu__target_by_name(const char *name, struct cu__target *out)
{
    struct search s = {.name = name, .out = out};
    int n = cu__discovery_each(match_name, &s);
    return n < 0 ? n : s.found;
}

bool cu__target_by_pid(pid_t pid, struct cu__target *out)
{
    struct cu__discovery_entry e;
    if (!cu__discovery_find(pid, &e)) {
        return false;
    }
    fill(out, &e);
    return true;
}

int cu__target_find(const char *word, struct cu__target *out)
{
    if (word[strspn(word, "0123456789")] == '\0') {
        pid_t pid = (pid_t)strtol(word, NULL, 10);
        if (cu__target_by_pid(pid, out)) {
            return 0;
        }
        if (kill(pid, 0) != 0 && errno == ESRCH) {
            cu__error("there is no process %s", word);
        } else {
            cu__error("process %s does not serve; start it with copper run", word);
        }
        return COPPER_EXIT_FAILED;
    }
    int n = strchr(word, '/') ? 0 : cu__target_by_name(word, out);
    if (n > 1) {
        cu__error("%d processes called %s serve; say which PID (copper list)", n, word);
        return COPPER_EXIT_FAILED;
    }
    return n == 1 ? 0 : -1;
}

int cu__target_required(const struct cu__options *o, struct cu__target *out)
{
    if (!o->target) {
        cu__error("%s takes one PID or NAME of a process that serves; copper list", o->verb);
        return COPPER_EXIT_FAILED;
    }
    int found = cu__target_find(o->target, out);
    if (found < 0) {
        cu__error("no process called %s serves; copper list", o->target);
        return COPPER_EXIT_FAILED;
    }
    return found;
}
