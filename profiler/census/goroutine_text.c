/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the text forms of the `goroutine` profile in Go's layout. debug=1: groups, which `go
 * tool pprof` reads. debug=2: one block for each coroutine, which goroutine-dump viewers read.
 *
 * Design. In debug=2 a stack is turned into text once, however many coroutines have it.
 */
#include "census.h"
#include "named.h"
#include "quote.h"
#include "shared_symbolizer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COPPER_NAME_SHOWN 900 /* bytes of a function's name */
#define COPPER_DUMP_DEPTH 100 /* debug=2: frames shown of a stack, half of them outermost */

/* ---- debug=1 -----------------------------------------------------------------------------------
 */

static void append(char *out, size_t cap, const char *text)
{
    size_t n = strlen(out);
    if (n < cap) {
        snprintf(out + n, cap - n, "%s", text);
    }
}

/* {"key":"value", "k2":"v2"} */
static void format_labels(const struct cu__group_labels *labels, char *out, size_t cap)
{
    out[0] = '\0';
    append(out, cap, "{");
    for (unsigned i = 0; i < labels->n; i++) {
        append(out, cap, i ? ", " : "");
        cu__append_quoted(out, cap, labels->at[i].key);
        append(out, cap, ":");
        cu__append_quoted(out, cap, labels->at[i].value);
    }
    append(out, cap, "}");
}

static int text_groups(const struct cu__census *c, struct cu_symbolizer *symbols,
                       struct cu__answer *a)
{
    uint32_t *order = cu__census_order(c);
    if (!order) {
        return -ENOMEM;
    }
    if (cu__answer_begin(a, COPPER_TYPE_TEXT, NULL)) {
        cu__answer_printf(a, "goroutine profile: total %" PRIu64 "\n", c->total);
        for (uint32_t i = 0; i < c->groups.kinds.nitems && a->err == 0; i++) {
            const struct cu__census_group *g = cu__census_group(c, order[i]);
            struct cu__group_labels labels;
            char text[3072];
            struct cu__text_record r = {
                .count = c->groups.counts[order[i]], .state = g->state, .labels = text};
            cu__census_labels(c, g, &labels);
            format_labels(&labels, text, sizeof(text));
            r.frames = cu__census_stack(c, g->stack, &r.nframes);
            cu__text_record(a, symbols, &r);
        }
    }
    free(order);
    return 0;
}

/* ---- debug=2 -----------------------------------------------------------------------------------
 */

/* A growing text; a failed allocation leaves it as it was. */
struct text {
    char *bytes;
    size_t n, cap;
};

__attribute__((format(printf, 2, 3))) static void text_add(struct text *t, const char *format, ...)
{
    for (;;) {
        va_list args;
        va_start(args, format);
        int n = vsnprintf(t->bytes ? t->bytes + t->n : NULL, t->cap - t->n, format, args);
        va_end(args);
        if (n < 0) {
            return;
        }
        if ((size_t)n < t->cap - t->n) {
            t->n += (size_t)n;
            return;
        }
        size_t cap = t->cap * 2 + (size_t)n + 256;
        char *more = realloc(t->bytes, cap);
        if (!more) {
            return;
        }
        t->bytes = more;
        t->cap = cap;
    }
}

static void dump_frame(struct text *t, struct cu_symbolizer *symbols, cu_frame frame)
{
    struct cu_symbol s;
    uint64_t pc = COPPER_FRAME_PC(frame);
    cu_symbolize(symbols, frame, &s);
    for (size_t j = 0; j < s.nlines; j++) {
        const struct cu_symbol_line *l = &s.lines[j];
        text_add(t, "%.*s(...)\n\t%s:%u", COPPER_NAME_SHOWN, l->function, l->file ? l->file : "?",
                 l->line);
        if (j + 1 == s.nlines && s.start != 0 && pc >= s.start) {
            text_add(t, " +0x%" PRIx64, pc + 1 - s.start);
        }
        text_add(t, "\n");
    }
}

/* The frames of one stack, as a text that the caller frees. */
static char *dump_stack(const struct cu__census *c, const struct cu__census_group *g,
                        struct cu_symbolizer *symbols)
{
    struct text t = {0};
    unsigned n;
    const cu_frame *frames = cu__census_stack(c, g->stack, &n);
    if (n == 0) {
        text_add(&t, "%s(...)\n\t?:0\n", cu__stand_in_name(cu__stand_in_address(g->state)));
    }
    for (unsigned i = 0; i < n; i++) {
        if (n > COPPER_DUMP_DEPTH && i == COPPER_DUMP_DEPTH / 2) {
            text_add(&t, "...%u frames elided...\n", n - COPPER_DUMP_DEPTH);
            i = n - COPPER_DUMP_DEPTH / 2;
        }
        dump_frame(&t, symbols, frames[i]);
    }
    return t.bytes;
}

/* A label's key or value: as it is where it is one plain word, else quoted. */
static void append_word(char *out, size_t cap, const char *word)
{
    bool is_plain = *word != '\0';
    for (const char *s = word; *s; s++) {
        is_plain &= (*s >= '0' && *s <= '9') || (*s >= 'a' && *s <= 'z') ||
                    (*s >= 'A' && *s <= 'Z') || strchr("_-./", *s) != NULL;
    }
    if (is_plain) {
        append(out, cap, word);
    } else {
        cu__append_quoted(out, cap, word);
    }
}

static void append_pair(char *out, size_t cap, const char *key, const char *value)
{
    append(out, cap, out[0] ? ", " : " {");
    append_word(out, cap, key);
    append(out, cap, ": ");
    append_word(out, cap, value);
}

/* " {name: worker, on: "channel (cap 0)", stage: parse}" or nothing. */
static void format_facts(const struct cu__census *c, const struct cu__census_member *m, char *out,
                         size_t cap)
{
    struct cu__group_labels labels;
    const char *name = cu__interned(&c->texts, m->name, NULL);
    const char *object = cu__interned(&c->texts, m->object, NULL);
    out[0] = '\0';
    if (name) {
        append_pair(out, cap, "name", name);
    }
    if (object) {
        append_pair(out, cap, "on", object);
    }
    cu__census_labels(c, cu__census_group(c, m->group), &labels);
    for (unsigned i = 0; i < labels.n; i++) {
        /* what the block says elsewhere is no label here */
        if (strcmp(labels.at[i].key, "state") != 0 && strcmp(labels.at[i].key, "spawned_at") != 0) {
            append_pair(out, cap, labels.at[i].key, labels.at[i].value);
        }
    }
    if (out[0]) {
        append(out, cap, "}");
    }
}

static void dump_member(struct cu__answer *a, const struct cu__census *c,
                        const struct cu__census_member *m, const char *stack)
{
    const struct cu__census_group *g = cu__census_group(c, m->group);
    int64_t minutes = m->waiting_ns / 60000000000;
    char facts[3072];
    format_facts(c, m, facts, sizeof(facts));
    cu__answer_printf(a, "goroutine %" PRId64 " [%s", m->id, g->state);
    if (minutes >= 1) {
        cu__answer_printf(a, ", %" PRId64 " minutes", minutes);
    }
    bool is_locked = m->is_locked || g->thread != COPPER_INTERN_NONE;
    cu__answer_printf(a, "%s]%s:\n", is_locked ? ", locked to thread" : "", facts);
    cu__answer_write(a, stack, strlen(stack));
    if (g->site) {
        cu__answer_printf(a, "created by %s", g->site->function);
        if (m->parent) {
            cu__answer_printf(a, " in goroutine %" PRId64, m->parent);
        }
        cu__answer_printf(a, "\n\t%s:%u\n", g->site->file, g->site->line);
    }
}

static int text_members(const struct cu__census *c, struct cu_symbolizer *symbols,
                        struct cu__answer *a)
{
    char **stacks = calloc(c->groups.kinds.nitems + 1, sizeof(*stacks));
    if (!stacks) {
        return -ENOMEM;
    }
    if (cu__answer_begin(a, COPPER_TYPE_TEXT, NULL)) {
        for (size_t i = 0; i < c->nmembers && a->err == 0; i++) {
            const struct cu__census_member *m = &c->members[i];
            if (!stacks[m->group]) {
                stacks[m->group] = dump_stack(c, cu__census_group(c, m->group), symbols);
            }
            if (i > 0) {
                cu__answer_write(a, "\n", 1);
            }
            dump_member(a, c, m, stacks[m->group] ? stacks[m->group] : "");
        }
    }
    for (uint32_t i = 0; i < c->groups.kinds.nitems; i++) {
        free(stacks[i]);
    }
    free(stacks);
    return 0;
}

int cu__goroutine_text(const struct cu__named_options *options, struct cu__answer *a)
{
    struct cu__census c;
    struct cu_symbolizer *symbols = NULL;
    int err = cu__census_take(&c, (struct cu__census_options){.with_threads = options->with_threads,
                                                              .with_members = options->debug >= 2});
    if (!err) {
        symbols = cu__symbolizer_borrow();
        err = symbols ? 0 : -ENOMEM;
    }
    if (!err) {
        err = options->debug >= 2 ? text_members(&c, symbols, a) : text_groups(&c, symbols, a);
    }
    if (symbols) {
        cu__symbolizer_return(symbols);
    }
    cu__census_clear(&c);
    return err;
}
