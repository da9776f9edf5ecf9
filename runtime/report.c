/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see report.h.
 *
 * Design: each report is put together in a buffer on the stack and written with write(2), so that
 * it also works in a signal handler and with any lock held. A library that can name frames
 * registers a printer; without it the program counter alone is given.
 *
 * Signal safety: print_* and the _sig functions use no stdio and no allocation. The printer decides
 * for itself; the process is about to die.
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

#define REPORT_BYTES 1024u

static cu_stack_printer *printer; /* any: atomic */

void cu_report_set_printer(cu_stack_printer *print)
{
    store_release(&printer, print);
}

struct text {
    size_t used;
    char bytes[REPORT_BYTES];
};

static void add_text(struct text *t, const char *s)
{
    size_t n = strlen(s), room = sizeof(t->bytes) - t->used;
    n = n < room ? n : room;
    memcpy(t->bytes + t->used, s, n);
    t->used += n;
}

static void add_number(struct text *t, uint64_t n, unsigned base)
{
    char digits[24];
    size_t i = sizeof(digits);
    digits[--i] = 0;
    do {
        digits[--i] = "0123456789abcdef"[n % base];
        n /= base;
    } while (n);
    add_text(t, digits + i);
}

static void add_site(struct text *t, const struct cu_site *site)
{
    if (site == NULL) {
        add_text(t, "at an unknown place");
        return;
    }
    add_text(t, "by ");
    add_text(t, site->function);
    add_text(t, " at ");
    add_text(t, site->file);
    add_text(t, ":");
    add_number(t, site->line, 10);
}

static void flush(struct text *t)
{
    size_t done = 0;
    while (done < t->used) {
        ssize_t n = write(STDERR_FILENO, t->bytes + done, t->used - done);
        if (n <= 0) {
            break;
        }
        done += (size_t)n;
    }
    t->used = 0;
}

/* coroutine 12 "worker" (spawned by main at x.c:10) */
static void add_coroutine(struct text *t, const struct cu__g *g)
{
    if (g == NULL) {
        add_text(t, "plain thread ");
        add_number(t, (uint64_t)gettid(), 10);
        return;
    }
    char name[COPPER_NAME_SIZE];
    memcpy(name, g->name, sizeof(name));
    name[sizeof(name) - 1] = 0;
    add_text(t, "coroutine ");
    add_number(t, (uint64_t)g->id, 10);
    if (name[0]) {
        add_text(t, " \"");
        add_text(t, name);
        add_text(t, "\"");
    }
    add_text(t, g->is_main ? " (started by cu_run)" : " (spawned ");
    if (!g->is_main) {
        add_site(t, g->site);
        add_text(t, ")");
    }
}

static void print_stack(struct text *t, const struct cu__g *g, const struct cu_saved_regs *regs)
{
    cu_stack_printer *print = load_acquire(&printer);
    flush(t);
    if (print && g && g->stack) {
        print(STDERR_FILENO, regs, (uint64_t)(uintptr_t)g->stack->lo,
              (uint64_t)(uintptr_t)g->stack->hi);
        return;
    }
    add_text(t, "  at pc 0x");
    add_number(t, regs->pc, 16);
    add_text(t, " (link copper::stacks for whole stacks)\n");
    flush(t);
}

void cu__misuse(const char *format, ...)
{
    char message[256];
    struct text t = {0};
    struct cu_saved_regs regs;
    const struct cu__g *g = cu__g_self();
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    cu__capture_regs(&regs);
    add_text(&t, "copper: ");
    add_text(&t, message);
    add_text(&t, "\ncopper: ");
    add_coroutine(&t, g);
    add_text(&t, g ? ", running\n" : "\n");
    print_stack(&t, g, &regs);
    abort();
}

void cu__complain(const char *format, ...)
{
    char message[256];
    struct text t = {0};
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    add_text(&t, "copper: ");
    add_text(&t, message);
    add_text(&t, "\n");
    flush(&t);
}

void cu__report_overflow_sig(const struct cu__g *g, const struct cu_saved_regs *regs)
{
    struct text t = {0};
    uint64_t bytes = (uint64_t)(g->stack->hi - g->stack->lo);
    add_text(&t, "copper: stack overflow: ");
    add_coroutine(&t, g);
    add_text(&t, " needs more than its ");
    add_number(&t, bytes / 1024, 10);
    add_text(&t, " KiB of stack; see struct cu_go_options.stack_size\n");
    print_stack(&t, g, regs);
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
