/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: stacks as text, for leak reports and for the last words of a dying process.
 *
 * Design. A runtime that is in the same process is offered our printer through a weak reference:
 * where there is no runtime there is nothing to do, and nothing is linked. A dying process may hold
 * malloc's lock or worse, so that report is guarded by a timer that lets it die without names.
 */
#include "internal.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES_MAX     1024
#define LAST_WORDS_SECONDS 10
#define REPORT_FRAMES_MAX  128

/* As copper/inspect.h declares them; struct cu_saved_regs has the layout of struct cu_regs. */
struct cu_saved_regs;
typedef void stack_printer(int fd, const struct cu_saved_regs *regs, uint64_t stack_lo,
                           uint64_t stack_hi);
extern void cu_report_set_printer(stack_printer *print) __attribute__((weak));
extern bool cu_report_is_fatal(void) __attribute__((weak));

static void write_all(int fd, const char *text, size_t n)
{
    while (n) {
        ssize_t done = write(fd, text, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return;
        text += done;
        n -= (size_t)done;
    }
}

static void print_line(int fd, const struct cu_symbol_line *l)
{
    char text[LINE_BYTES_MAX];
    int n = l->file ? snprintf(text, sizeof text - 1, "  %s %s:%u", l->function, l->file, l->line)
                    : snprintf(text, sizeof text - 1, "  %s", l->function);
    if (n < 0)
        return;
    size_t used = strnlen(text, sizeof text - 1);
    text[used] = '\n';
    write_all(fd, text, used + 1);
}

static void print_with(struct cu_symbolizer *s, int fd, const cu_frame *frames, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct cu_symbol symbol;
        char text[64];
        if (s) {
            cu_symbolize(s, frames[i], &symbol);
            for (size_t k = 0; k < symbol.nlines; k++)
                print_line(fd, &symbol.lines[k]);
        } else {
            int length = snprintf(text, sizeof text, "  0x%llx\n",
                                  (unsigned long long)COPPER_FRAME_PC(frames[i]));
            write_all(fd, text, length > 0 ? (size_t)length : 0);
        }
    }
}

void cu_stack_print(int fd, const cu_frame *frames, unsigned n)
{
    struct cu_symbolizer *s = cu_symbolizer_open();
    print_with(s, fd, frames, n);
    cu_symbolizer_close(s);
}

static void give_up_sig(int signal)
{
    (void)signal;
    _exit(128 + SIGABRT);
}

static void limit_last_words(void)
{
    struct sigaction action = {.sa_handler = give_up_sig};
    sigset_t set;
    sigaction(SIGALRM, &action, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    alarm(LAST_WORDS_SECONDS);
}

/* Opening one costs a hundred times what a stack does: kept from one stack of a dump to the next. */
static _Atomic(struct cu_symbolizer *) spare;

static void keep_spare(struct cu_symbolizer *s)
{
    struct cu_symbolizer *none = NULL;
    if (s && !atomic_compare_exchange_strong_explicit(&spare, &none, s, memory_order_release,
                                                      memory_order_relaxed))
        cu_symbolizer_close(s);
}

static void print_report(int fd, const struct cu_saved_regs *regs, uint64_t lo, uint64_t hi)
{
    /* pairs with the release in keep_spare: what the last user wrote is here */
    struct cu_symbolizer *s = atomic_exchange_explicit(&spare, NULL, memory_order_acquire);
    cu_frame frames[REPORT_FRAMES_MAX];
    struct cu_walk w = {.lo = lo, .hi = hi, .frames = frames, .max = REPORT_FRAMES_MAX};
    if (regs == NULL) { /* the dump is over */
        cu_symbolizer_close(s);
        return;
    }
    bool is_fatal = !cu_report_is_fatal || cu_report_is_fatal();
    if (is_fatal)
        limit_last_words();
    memcpy(&w.regs, regs, sizeof w.regs);
    /* Of an overflow the innermost frame begins below the stack; what was saved in it does not. */
    if (is_fatal && w.regs.sp < lo)
        w.lo = w.regs.sp & ~(uint64_t)7;
    if (s == NULL) {
        cu_stacks_prepare();
        s = cu_symbolizer_open();
    }
    cu_stack_walk_sig(&w);
    print_with(s, fd, frames, w.n);
    keep_spare(s);
    if (is_fatal)
        alarm(0);
}

__attribute__((constructor)) static void offer_printer(void)
{
    if (cu_report_set_printer)
        cu_report_set_printer(print_report);
}
