/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see report.h.
 *
 * Design: each report is put together in a buffer on the stack and written with write(2), so that
 * it also works in a signal handler and with any lock held. A library that can name frames
 * registers a printer; without it the program counter alone is given.
 *
 * Signal safety: the text (text.h) and the _sig functions use no stdio and no allocation. The
 * printer decides for itself; the process is about to die.
 */
#include "report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "stack.h"
#include "tls.h"

static cu_stack_printer *printer; /* any: atomic */
static bool is_fatal;             /* any: atomic */
static bool is_dying;             /* any: atomic; what follows the report ends the process */

void cu__report_is_fatal(void)
{
    store_relaxed(&is_fatal, true);
}

bool cu_report_is_fatal(void)
{
    return load_relaxed(&is_fatal);
}

void cu__report_let_finish(void)
{
    while (load_relaxed(&is_dying)) {
        usleep(1000);
    }
}

void cu_report_set_printer(cu_stack_printer *print)
{
    store_release(&printer, print);
}

/* What is said of a coroutine, which may run meanwhile. */
struct who {
    cu_id id;
    uint64_t name[COPPER_NAME_SIZE / 8];
    const struct cu_site *site;
    bool is_main;
};

static struct who look_at(const struct cu__g *g)
{
    struct who who = {.id = load_relaxed(&g->id),
                      .site = load_relaxed(&g->site),
                      .is_main = load_relaxed(&g->is_main)};
    for (size_t i = 0; i < ARRAY_LEN(who.name); i++) {
        who.name[i] = load_relaxed(&g->name[i]);
    }
    return who;
}

/* coroutine 12 "worker" (spawned by main at x.c:10) */
static void add_coroutine(struct cu__text *t, const struct cu__g *g)
{
    if (g == NULL) {
        cu__text_add(t, "plain thread ");
        cu__text_number(t, (uint64_t)gettid(), 10);
        return;
    }
    struct who who = look_at(g);
    char name[COPPER_NAME_SIZE];
    memcpy(name, who.name, sizeof(name));
    name[sizeof(name) - 1] = 0;
    cu__text_add(t, "coroutine ");
    cu__text_number(t, (uint64_t)who.id, 10);
    if (name[0]) {
        cu__text_add(t, " \"");
        cu__text_add(t, name);
        cu__text_add(t, "\"");
    }
    cu__text_add(t, who.is_main ? " (started by cu_run)" : " (spawned ");
    if (!who.is_main) {
        cu__text_site(t, who.site);
        cu__text_add(t, ")");
    }
}

void cu__print_stack(struct cu__text *t, const struct cu_saved_regs *regs, uint64_t lo, uint64_t hi)
{
    cu_stack_printer *print = load_acquire(&printer);
    cu__text_flush(t);
    if (print && hi) {
        print(t->fd, regs, lo, hi);
        return;
    }
    cu__text_add(t, "  at pc 0x");
    cu__text_number(t, regs->pc, 16);
    cu__text_add(t, " (link copper::stacks for whole stacks)\n");
    cu__text_flush(t);
}

void cu__print_end(int fd)
{
    cu_stack_printer *print = load_acquire(&printer);
    if (print) {
        print(fd, NULL, 0, 0);
    }
}

/* The stack of a coroutine that is the reason for the end. */
static void print_last(struct cu__text *t, const struct cu__g *g, const struct cu_saved_regs *regs)
{
    const struct cu__stack *stack = g ? g->stack : NULL;
    cu__report_is_fatal();
    cu__print_stack(t, regs, stack ? (uint64_t)(uintptr_t)stack->lo : 0,
                    stack ? (uint64_t)(uintptr_t)stack->hi : 0);
}

void cu__misuse(const char *format, ...)
{
    char message[256];
    struct cu__text t = {.fd = STDERR_FILENO};
    struct cu_saved_regs regs;
    const struct cu__g *g = cu__g_self();
    va_list args;
    store_relaxed(&is_dying, true);
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    cu__capture_regs(&regs);
    cu__text_add(&t, "copper: ");
    cu__text_add(&t, message);
    cu__text_add(&t, "\ncopper: ");
    add_coroutine(&t, g);
    cu__text_add(&t, g ? ", running\n" : "\n");
    print_last(&t, g, &regs);
    abort();
}

static void complain(const struct cu__g *g, const char *format, va_list args)
{
    char message[256];
    struct cu__text t = {.fd = STDERR_FILENO};
    vsnprintf(message, sizeof(message), format, args);
    cu__text_add(&t, "copper: ");
    if (g) {
        add_coroutine(&t, g);
        cu__text_add(&t, " ");
    }
    cu__text_add(&t, message);
    cu__text_add(&t, "\n");
    cu__text_flush(&t);
}

void cu__complain(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    complain(NULL, format, args);
    va_end(args);
}

void cu__complain_of(const struct cu__g *g, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    complain(g, format, args);
    va_end(args);
}

void cu__report_overflow_sig(const struct cu__g *g, const struct cu_saved_regs *regs)
{
    struct cu__text t = {.fd = STDERR_FILENO};
    uint64_t bytes = (uint64_t)(g->stack->hi - g->stack->lo);
    store_relaxed(&is_dying, true);
    cu__text_add(&t, "copper: stack overflow: ");
    add_coroutine(&t, g);
    cu__text_add(&t, " needs more than its ");
    cu__text_number(&t, bytes / 1024, 10);
    cu__text_add(&t, " KiB of stack; see struct cu_go_options.stack_size\n");
    print_last(&t, g, regs);
    store_relaxed(&is_dying, false); /* the program's own action for the signal decides */
}

void cu__report_overflow(const struct cu__g *g)
{
    struct cu_saved_regs regs;
    cu__capture_regs(&regs);
    cu__report_overflow_sig(g, &regs);
    abort();
}

void cu__assert_failed(const char *what, const char *file, int line)
{
    cu__misuse("internal error: %s does not hold (%s:%d); please report it", what, file, line);
}
