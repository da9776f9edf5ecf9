/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose. From groups of raw frames to a report: names, what options ignore, order.
 *
 * Design. Each group is symbolized once. The runtime's own frames at both ends of a stack (the way
 * into the park, the way up from the coroutine's first instruction) are dropped: they say nothing
 * that the wait reason does not. The function that a coroutine was spawned with ends its stack,
 * also where that does not have it. The report owns the symbolizer, whose strings it uses.
 */
#include "leak_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A string of the report's own. */
struct own_text {
    struct own_text *next;
    char text[];
};

struct made_report {
    struct cu_leak_report shown; /* first: what callers hold */
    struct cu_symbolizer *symbolizer;
    struct own_text *texts;
    struct cu_leak_group groups[];
};

static bool is_runtime_frame(cu_frame frame, const char *function)
{
    const struct cu_module *module = cu_module_by_id(COPPER_FRAME_MODULE(frame));
    const char *name = module == NULL ? NULL : strrchr(module->path, '/');
    if (name != NULL && strncmp(name + 1, "libcopper_runtime", strlen("libcopper_runtime")) == 0)
        return true;
    return strncmp(function, "cu_", 3) == 0;
}

static cu_frame frame_of_entry(void (*entry)(void *))
{
    uint64_t pc = (uint64_t)(uintptr_t)entry;
    const struct cu_module *module = cu_module_at(pc);
    return pc | (module == NULL ? 0 : (uint64_t)module->id << 48);
}

/* The name as it is in the source: compilers call their clones of f "f.isra.0", "f.constprop.1",
 * "f.part.2", "f.cold". NULL: out of memory. */
static const char *source_name(struct made_report *made, const char *function)
{
    size_t n = strcspn(function, ".");
    if (function[n] == '\0')
        return function;
    struct own_text *own = malloc(sizeof *own + n + 1);
    if (own == NULL)
        return NULL;
    memcpy(own->text, function, n);
    own->text[n] = '\0';
    own->next = made->texts;
    made->texts = own;
    return own->text;
}

static int append_lines(struct made_report *made, struct cu_leak_group *group,
                        const struct cu_symbol *symbol)
{
    struct cu_leak_line *lines = reallocarray((void *)(uintptr_t)group->lines,
                                              group->nlines + symbol->nlines, sizeof *lines);
    if (lines == NULL)
        return -ENOMEM;
    group->lines = lines;
    for (size_t i = 0; i < symbol->nlines; i++) {
        const struct cu_symbol_line *from = &symbol->lines[i];
        const char *name = symbol->is_named ? source_name(made, from->function) : from->function;
        if (name == NULL)
            return -ENOMEM;
        lines[group->nlines++] = (struct cu_leak_line){name, from->file, from->line};
    }
    return 0;
}

/* The function that was spawned, if it is not on the stack: its last act was a call into another
 * library, which is a jump that leaves its frame, or it was not walked at all. outermost: of the
 * frames that are not the runtime's; 0: there is none. */
static int name_entry(struct made_report *made, struct cu__leak_group *g, cu_frame outermost)
{
    cu_frame entry = frame_of_entry(g->entry);
    struct cu_symbol symbol;
    if (outermost != 0 && COPPER_FRAME_MODULE(outermost) == COPPER_FRAME_MODULE(entry))
        return 0;
    cu_symbolize(made->symbolizer, entry, &symbol);
    if (outermost != 0 && is_runtime_frame(entry, symbol.lines[symbol.nlines - 1].function))
        return 0;
    return append_lines(made, &g->shown, &symbol);
}

/* Names one group's stack. */
static int name_group(struct made_report *made, struct cu__leak_group *g)
{
    struct cu_leak_group *group = &g->shown;
    struct cu_symbol symbol;
    size_t kept = 0; /* lines up to the last one that is not the runtime's */
    unsigned nframes = 0;
    for (unsigned i = 0; i < g->nframes; i++) {
        cu_symbolize(made->symbolizer, g->frames[i], &symbol);
        bool is_runtime = is_runtime_frame(g->frames[i], symbol.lines[symbol.nlines - 1].function);
        if (is_runtime && group->nlines == 0)
            continue;
        int err = append_lines(made, group, &symbol);
        if (err < 0)
            return err;
        if (!is_runtime) {
            kept = group->nlines;
            nframes = i + 1;
        }
    }
    group->nlines = kept;
    bool is_cut = nframes > 0 && nframes == g->nframes; /* whole ones begin in the runtime */
    return is_cut ? 0 : name_entry(made, g, nframes > 0 ? g->frames[nframes - 1] : 0);
}

static bool is_listed(const char *const *list, const char *name)
{
    if (list == NULL || name == NULL)
        return false;
    for (; *list != NULL; list++)
        if (strcmp(*list, name) == 0)
            return true;
    return false;
}

static bool is_ignored(const struct cu_leak_group *group, const struct cu_leak_options *options)
{
    if (is_listed(options->ignore_top, group->lines[0].function))
        return true;
    if (group->site != NULL && is_listed(options->ignore_created_by, group->site->function))
        return true;
    for (size_t i = 0; i < group->nlines; i++)
        if (is_listed(options->ignore_any, group->lines[i].function))
            return true;
    return false;
}

/* Largest first, then stranded before running, then oldest id. */
static int compare_groups(const void *a, const void *b)
{
    const struct cu_leak_group *x = a, *y = b;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    if (x->verdict != y->verdict)
        return x->verdict == COPPER_LEAK_STRANDED ? -1 : 1;
    return (x->ids[0] > y->ids[0]) - (x->ids[0] < y->ids[0]);
}

/* Moves a named group into the report, unless it is ignored. */
static void take_group(struct made_report *made, struct cu__leak_group *g,
                       const struct cu_leak_options *options)
{
    if (is_ignored(&g->shown, options))
        return;
    made->groups[made->shown.ngroups++] = g->shown;
    made->shown.count += g->shown.count;
    if (g->shown.verdict == COPPER_LEAK_STRANDED)
        made->shown.stranded += g->shown.count;
    g->shown.lines = NULL;
}

int cu__leak_report_make(struct cu__leak_set *set, const struct cu_leak_options *options,
                         struct cu_leak_report **report)
{
    *report = NULL;
    if (set->ngroups == 0)
        return 0;
    struct made_report *made = calloc(1, sizeof *made + set->ngroups * sizeof made->groups[0]);
    if (made == NULL)
        return -ENOMEM;
    made->shown.groups = made->groups;
    made->symbolizer = cu_symbolizer_open();
    int err = made->symbolizer == NULL ? -ENOMEM : 0;
    for (size_t i = 0; i < set->capacity && err == 0; i++) {
        struct cu__leak_group *g = set->slots[i];
        if (g == NULL)
            continue;
        err = name_group(made, g);
        if (err == 0)
            take_group(made, g, options);
        free((void *)(uintptr_t)g->shown.lines);
        g->shown.lines = NULL;
    }
    if (err < 0 || made->shown.ngroups == 0) {
        cu_leak_report_free(&made->shown);
        return err;
    }
    qsort(made->groups, made->shown.ngroups, sizeof made->groups[0], compare_groups);
    *report = &made->shown;
    return 0;
}

void cu_leak_report_free(struct cu_leak_report *report)
{
    if (report == NULL)
        return;
    struct made_report *made = (struct made_report *)report;
    for (size_t i = 0; i < made->shown.ngroups; i++)
        free((void *)(uintptr_t)made->groups[i].lines);
    for (struct own_text *own = made->texts, *next; own != NULL; own = next) {
        next = own->next;
        free(own);
    }
    if (made->symbolizer != NULL)
        cu_symbolizer_close(made->symbolizer);
    free(made);
}
