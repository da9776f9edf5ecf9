/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: cu_dump: every coroutine as text.
 *
 * Design: the layout is that of Go's tracebacks, which people and tools can read:
 *
 *     coroutine 7 [chan receive, 3 minutes, locked to thread 812] {name: worker, on: "..."}:
 *       frame file:line
 *     created by start in coroutine 1
 *             file.c:12
 *
 * Each coroutine is written while inspection holds it still: nothing is collected first, so that a
 * dump needs no memory of its own. A printer, where one is registered, may need some.
 */
#include "dump.h"

#include <copper/debug.h>
#include <copper/label.h>
#include <copper/time.h>
#include <string.h>
#include <unistd.h>

#include "report.h"

#define MINUTE_NS (60 * COPPER_SEC)

static const char *const object_kinds[] = {
#define KIND_TEXT(name, text, many) text,
    COPPER_OBJECT_KINDS(KIND_TEXT)
#undef KIND_TEXT
};

static void add_field(struct cu__text *t, const char *name, uint64_t value)
{
    cu__text_add(t, name);
    cu__text_number(t, value, 10);
}

static void add_channel_facts(struct cu__text *t, const struct cu_object_info *o)
{
    add_field(t, " (cap ", o->cap);
    add_field(t, ", len ", o->len);
    cu__text_add(t, o->is_closed ? ", closed" : "");
    if (o->site) {
        cu__text_add(t, ", made ");
        cu__text_site(t, o->site);
    }
    cu__text_add(t, ")");
}

void cu__dump_object(struct cu__text *t, const struct cu_object_info *o)
{
    cu__text_add(t, o->kind < ARRAY_LEN(object_kinds) ? object_kinds[o->kind] : "object");
    if (o->address) {
        cu__text_add(t, " 0x");
        cu__text_number(t, (uint64_t)(uintptr_t)o->address, 16);
    }
    if (o->name[0]) {
        cu__text_add(t, " '");
        cu__text_add(t, o->name);
        cu__text_add(t, "'");
    }
    if (o->kind == COPPER_OBJECT_CHAN && o->address) {
        add_channel_facts(t, o);
    } else if (o->owner) {
        add_field(t, " (held by coroutine ", (uint64_t)o->owner);
        cu__text_add(t, ")");
    } else if (o->kind == COPPER_OBJECT_WG) {
        add_field(t, " (counter ", (uint64_t)o->count);
        cu__text_add(t, ")");
    } else if (o->kind == COPPER_OBJECT_FD) {
        add_field(t, " ", o->cap);
    } else if (o->kind == COPPER_OBJECT_SELECT && o->cap) {
        add_field(t, " (", o->cap);
        cu__text_add(t, o->cap == 1 ? " case)" : " cases)");
    }
}

/* A pair of what stands in braces. `used` counts them. */
static void begin_pair(struct cu__text *t, unsigned *used, const char *key)
{
    cu__text_add(t, (*used)++ ? ", " : " {");
    cu__text_add(t, key);
    cu__text_add(t, ": ");
}

static void add_quoted(struct cu__text *t, const char *value)
{
    cu__text_add(t, "\"");
    for (; *value; value++) {
        char one[] = {*value, 0};
        if (*value == '"' || *value == '\\') {
            cu__text_add(t, "\\");
        }
        cu__text_add(t, (unsigned char)*value < ' ' ? "?" : one);
    }
    cu__text_add(t, "\"");
}

static void add_facts(struct cu__text *t, const struct cu_g_info *g)
{
    unsigned used = 0;
    if (g->name[0]) {
        begin_pair(t, &used, "name");
        add_quoted(t, g->name);
    }
    if (g->object.kind != COPPER_OBJECT_NONE) {
        begin_pair(t, &used, "on");
        cu__text_add(t, "\"");
        cu__dump_object(t, &g->object);
        cu__text_add(t, "\"");
    }
    for (size_t i = 0; i < cu_labels_count(g->labels); i++) {
        begin_pair(t, &used, cu_labels_key(g->labels, i));
        add_quoted(t, cu_labels_value(g->labels, i));
    }
    cu__text_add(t, used ? "}" : "");
}

static void add_stack(struct cu__text *t, const struct cu_g_info *g)
{
    if (g->has_regs) {
        cu__print_stack(t, &g->regs, g->stack_lo, g->stack_hi);
    } else if (g->is_started) {
        cu__text_add(t, "  (running: its stack does not stand still)\n");
    } else {
        cu__text_add(t, "  (not started yet)\n");
    }
}

static void add_creation(struct cu__text *t, const struct cu_site *site, cu_id parent)
{
    cu__text_add(t, "created by ");
    cu__text_add(t, site ? site->function : "an unknown function");
    if (parent) {
        add_field(t, " in coroutine ", (uint64_t)parent);
    }
    cu__text_add(t, "\n");
    if (site) {
        cu__text_add(t, "\t");
        cu__text_add(t, site->file);
        add_field(t, ":", site->line);
        cu__text_add(t, "\n");
    }
}

/* Where its parent was spawned, and that one's, up to the plain thread where it began; what cu_run
 * started has no place. */
static void add_ancestors(struct cu__text *t, const struct cu_origin *origin)
{
    for (; origin && (origin->parent || origin->site || origin->is_more); origin = origin->parent) {
        cu__text_add(t, origin->is_more ? "[ancestors not remembered" : "[its parent created ");
        if (!origin->is_more) {
            cu__text_site(t, origin->site);
        }
        cu__text_add(t, "]\n");
    }
}

void cu__dump_coroutine(struct cu__text *t, const struct cu_g_info *g, int64_t now_ns)
{
    int64_t minutes = g->state == COPPER_G_WAITING ? (now_ns - g->since_ns) / MINUTE_NS : 0;
    add_field(t, "coroutine ", (uint64_t)g->id);
    cu__text_add(t, " [");
    cu__text_add(t, cu_g_state_text(g));
    if (minutes > 0) {
        add_field(t, ", ", (uint64_t)minutes);
        cu__text_add(t, " minutes");
    }
    if (g->locked_tid) {
        add_field(t, ", locked to thread ", (uint64_t)g->locked_tid);
    }
    cu__text_add(t, "]");
    add_facts(t, g);
    cu__text_add(t, ":\n");
    add_stack(t, g);
    if (!g->is_main) {
        add_creation(t, g->site, g->parent);
        const struct cu_origin *o = g->origin;
        add_ancestors(t, o && !o->is_more ? o->parent : o);
    }
    cu__text_add(t, "\n");
}

struct dump {
    struct cu__text *text;
    int64_t now_ns;
};

static bool dump_one(const struct cu_g_info *g, void *arg)
{
    struct dump *dump = arg;
    cu__dump_coroutine(dump->text, g, dump->now_ns);
    return true;
}

int64_t cu__dump_all(struct cu__text *t)
{
    struct dump dump = {t, cu_now()};
    int64_t written = cu_inspect_each(dump_one, &dump);
    cu__print_end(t->fd);
    return written;
}

static void add_count(struct cu__text *t, uint64_t n, const char *one, const char *many)
{
    cu__text_number(t, n, 10);
    cu__text_add(t, n == 1 ? one : many);
}

int64_t cu_dump(int fd)
{
    struct cu__text t = {.fd = fd};
    struct cu_runtime_stats stats = {.size = sizeof(stats)};
    cu_runtime_stats_read(&stats);
    cu__text_add(&t, "copper: ");
    add_count(&t, stats.live, " coroutine, ", " coroutines, ");
    cu__text_number(&t, (uint64_t)stats.maxprocs, 10);
    cu__text_add(&t, " P, ");
    add_count(&t, stats.threads, " worker thread", " worker threads");
    cu__text_add(&t, ", stack guard: ");
    cu__text_add(&t, stats.guard_mode);
    cu__text_add(&t, "\n\n");
    int64_t written = cu__dump_all(&t);
    cu__text_flush(&t);
    return written;
}
