/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose. The report as text.
 *
 *     reconnect: 1 coroutine stranded: chan send on channel (cap 0, made at t.c:5), ask t.c:1, ...
 *         waiting 3.1 ms, id 17
 *         at  ask          /src/t.c:1
 *         by  gives_up     /src/t.c:5
 *
 * Design. Where there is one group the first line says it all, so that it can be grepped; where
 * there are several each has such a line of its own. The text is made in memory and goes out in
 * one piece, so that reports of parallel tests do not mix.
 */
#include "leak_int.h"

#include <copper/time.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINES_PRINTED 32 /* stack lines of one group */

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static void print_age(FILE *f, int64_t ns)
{
    if (ns < COPPER_MS)
        fprintf(f, "%" PRId64 " us", ns / COPPER_US);
    else if (ns < COPPER_SEC)
        fprintf(f, "%.1f ms", (double)ns / (double)COPPER_MS);
    else if (ns < 120 * COPPER_SEC)
        fprintf(f, "%.1f s", (double)ns / (double)COPPER_SEC);
    else
        fprintf(f, "%.1f min", (double)ns / (60 * (double)COPPER_SEC));
}

struct kind_texts {
    const char *one, *many;
};

static const struct kind_texts *texts_of(enum cu_object_kind kind)
{
    static const struct kind_texts texts[] = {
#define COPPER_KIND_TEXTS(name, text, many) {text, many},
        COPPER_OBJECT_KINDS(COPPER_KIND_TEXTS)
#undef COPPER_KIND_TEXTS
    };
    return &texts[(unsigned)kind < COPPER_OBJECT_COUNT ? kind : COPPER_OBJECT_NONE];
}

/* "cap 0, closed, made at t.c:5" */
static void print_facts(FILE *f, const struct cu_object_info *object)
{
    const char *comma = "";
    if (object->kind == COPPER_OBJECT_CHAN) {
        fprintf(f, "cap %" PRIu64, object->cap);
        comma = ", ";
        if (object->len > 0)
            fprintf(f, ", %" PRIu64 " buffered", object->len);
        if (object->is_closed)
            fputs(", closed", f);
    } else if (object->kind == COPPER_OBJECT_WG) {
        fprintf(f, "counter %" PRId64, object->count);
        comma = ", ";
    } else if (object->kind == COPPER_OBJECT_SEM) {
        fprintf(f, "%" PRId64 " units free", object->count);
        comma = ", ";
    } else if (object->owner != 0) {
        fprintf(f, "%s coroutine %" PRId64,
                object->kind == COPPER_OBJECT_ONCE ? "run by" : "held by", object->owner);
        comma = ", ";
    } else if (object->kind == COPPER_OBJECT_RWMUTEX && object->count > 0) {
        fprintf(f, "held by %" PRId64 " reader%s", object->count, object->count > 1 ? "s" : "");
        comma = ", ";
    }
    if (object->site != NULL)
        fprintf(f, "%smade at %s:%" PRIu32, comma, base_of(object->site->file), object->site->line);
    else if (object->kind != COPPER_OBJECT_CHAN)
        fprintf(f, "%sat %p", comma, object->address);
}

static void print_object(FILE *f, const struct cu_leak_group *group)
{
    const struct cu_object_info *object = &group->object;
    if (object->kind == COPPER_OBJECT_NONE)
        return;
    if (group->has_many_objects) {
        fprintf(f, " on several %s", texts_of(object->kind)->many);
        if (object->site != NULL)
            fprintf(f, " (made at %s:%" PRIu32 ")", base_of(object->site->file),
                    object->site->line);
        return;
    }
    fprintf(f, " on %s ", texts_of(object->kind)->one);
    if (object->name[0] != '\0')
        fprintf(f, "'%s' ", object->name);
    fputc('(', f);
    print_facts(f, object);
    fputc(')', f);
}

/* "chan send on channel (cap 0, made at t.c:5), ask t.c:1, spawned at t.c:5" */
static void print_summary(FILE *f, const struct cu_leak_group *group)
{
    const struct cu_leak_line *top = &group->lines[0];
    if (group->state == COPPER_G_WAITING) {
        fputs(cu_wait_reason_text(group->reason), f);
        print_object(f, group);
    } else {
        fputs(group->state == COPPER_G_RUNNING ? "running" : "runnable", f);
    }
    fprintf(f, ", %s", top->function);
    if (top->file != NULL)
        fprintf(f, " %s:%" PRIu32, base_of(top->file), top->line);
    if (group->site != NULL)
        fprintf(f, ", spawned at %s:%" PRIu32, base_of(group->site->file), group->site->line);
    fputc('\n', f);
}

static int function_width(const struct cu_leak_group *group, size_t nlines)
{
    size_t width = group->site == NULL ? 0 : strlen(group->site->function);
    for (size_t i = 0; i < nlines; i++)
        if (strlen(group->lines[i].function) > width)
            width = strlen(group->lines[i].function);
    return (int)(width < 40 ? width : 40);
}

static void print_place(FILE *f, const char *lead, int width, const char *function,
                        const char *file, uint32_t line)
{
    if (file == NULL)
        fprintf(f, "      %s  %s\n", lead, function);
    else
        fprintf(f, "      %s  %-*s  %s:%" PRIu32 "\n", lead, width, function, file, line);
}

/* What the summary does not say: for how long, who, the whole stack. */
static void print_details(FILE *f, const struct cu_leak_group *group)
{
    fputs(group->state == COPPER_G_WAITING ? "      waiting " : "      for ", f);
    print_age(f, group->age_min_ns);
    if (group->count > 1) {
        fputs(" .. ", f);
        print_age(f, group->age_max_ns);
    }
    fprintf(f, ", id%s", group->count > 1 ? "s" : "");
    for (size_t i = 0; i < group->nids; i++)
        fprintf(f, " %" PRId64, group->ids[i]);
    fputs(group->count > group->nids ? " ...\n" : "\n", f);

    size_t nlines = group->nlines < LINES_PRINTED ? group->nlines : LINES_PRINTED;
    int width = function_width(group, nlines);
    for (size_t i = 0; i < nlines; i++) {
        const struct cu_leak_line *line = &group->lines[i];
        print_place(f, i == 0 ? "at" : "  ", width, line->function, line->file, line->line);
    }
    if (nlines < group->nlines)
        fprintf(f, "          ... and %zu more\n", group->nlines - nlines);
    if (group->site != NULL)
        print_place(f, "by", width, group->site->function, group->site->file, group->site->line);
}

/* "NAME: 3 coroutines stranded" */
static void print_head(FILE *f, const struct cu_leak_report *report, const char *title,
                       const char *what)
{
    uint64_t running = report->count - report->stranded;
    fprintf(f, "%s: %" PRIu64 " coroutine%s ", title, report->count, report->count == 1 ? "" : "s");
    if (running == 0)
        fputs(what == NULL ? "stranded" : what, f);
    else if (report->stranded == 0)
        fputs("still running", f);
    else
        fprintf(f, "left behind (%" PRIu64 " stranded, %" PRIu64 " still running)",
                report->stranded, running);
}

static void print_report(FILE *f, const struct cu_leak_report *report, const char *title,
                         const char *what)
{
    print_head(f, report, title, what);
    if (report->ngroups == 1) {
        fputs(": ", f);
        print_summary(f, &report->groups[0]);
        print_details(f, &report->groups[0]);
    } else {
        fprintf(f, ", %zu groups\n", report->ngroups);
        size_t printed = report->ngroups < COPPER_LEAK_GROUPS_PRINTED ? report->ngroups
                                                                      : COPPER_LEAK_GROUPS_PRINTED;
        uint64_t count = 0;
        for (size_t i = 0; i < printed; i++) {
            fprintf(f, "  %" PRIu64 " x ", report->groups[i].count);
            print_summary(f, &report->groups[i]);
            print_details(f, &report->groups[i]);
            count += report->groups[i].count;
        }
        if (printed < report->ngroups)
            fprintf(f, "  ... and %zu more groups with %" PRIu64 " coroutines\n",
                    report->ngroups - printed, report->count - count);
    }
    if (!report->is_settled && report->stranded > 0 && report->settle_ns >= COPPER_MS) {
        fputs("  (others still ran after ", f);
        print_age(f, report->settle_ns);
        fputs(": some of these might yet have been woken)\n", f);
    }
}

static void write_all(int fd, const char *text, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, text, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return; /* nowhere to complain about a closed stderr */
        text += done;
        n -= (size_t)done;
    }
}

void cu__leak_print(const struct cu_leak_report *report, const char *title, const char *what,
                    const struct cu_leak_options *given)
{
    struct cu_leak_options options;
    if (cu__leak_options_read(given, &options) < 0)
        options = (struct cu_leak_options){COPPER_LEAK_OPTIONS};
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (f == NULL)
        return;
    print_report(f, report, title, what);
    if (fclose(f) == 0) {
        if (options.output != NULL)
            options.output(options.output_arg, text, n);
        else if (options.fd >= 0)
            write_all(options.fd, text, n);
    }
    free(text);
}

void cu_leak_report_print(const struct cu_leak_report *report, const char *title,
                          const struct cu_leak_options *options)
{
    cu__leak_print(report, title, NULL, options);
}
