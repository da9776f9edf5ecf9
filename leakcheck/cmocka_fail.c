/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose. cmocka's ways to end a test, caught wherever they happen.
 *
 * Design. cmocka calls _fail, _skip and cm_print_error through the PLT, so that these definitions,
 * in the program itself, come before its own. Between the message and the _fail of one assertion
 * nothing parks: a thread-local carries the message from one to the other.
 */
#include "cmocka_int.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Both are cmocka's; its header declares only the first. */
void _skip(const char *const file, const int line);
void cm_print_error(const char *const format, ...) __attribute__((format(printf, 1, 2)));

/* Something of cmocka's that is not defined here: where a test suite calls nothing else of it, linkers
 * that keep only needed libraries would leave cmocka out. */
__attribute__((used)) static void (*const needs_cmocka)(const char *const, ...) = print_error;

static __thread char *pending_message;

/* Never inlined, so that no address of the thread-local survives a move to another thread. */
__attribute__((noinline)) static char *swap_message(char *message)
{
    char *before = pending_message;
    pending_message = message;
    return before;
}

void *cu__cmocka_real(const char *name)
{
    void *real = dlsym(RTLD_NEXT, name);
    if (real == NULL) {
        fprintf(stderr, "copper: cmocka has no %s: its version is not supported\n", name);
        abort();
    }
    return real;
}

void cu__cmocka_raise(enum cu__cmocka_verdict verdict, const char *file, int line,
                      const char *message)
{
    if (verdict == COPPER_CMOCKA_FAILED) {
        void (*print)(const char *, ...) =
            (void (*)(const char *, ...))cu__cmocka_real("cm_print_error");
        if (message != NULL)
            print("%s", message);
    }
    void (*raise)(const char *, int) = (void (*)(const char *, int))cu__cmocka_real(
        verdict == COPPER_CMOCKA_SKIPPED ? "_skip" : "_fail");
    raise(file, line);
    abort(); /* cmocka's do not return */
}

COPPER_INTERPOSE void _fail(const char *const file, const int line)
{
    if (!cu__cmocka_is_runner())
        cu__cmocka_end_here(COPPER_CMOCKA_FAILED, file, line, swap_message(NULL));
    cu__cmocka_fail_forwarded(file, line);
    cu__cmocka_raise(COPPER_CMOCKA_FAILED, file, line, NULL);
}

COPPER_INTERPOSE void _skip(const char *const file, const int line)
{
    if (!cu__cmocka_is_runner())
        cu__cmocka_end_here(COPPER_CMOCKA_SKIPPED, file, line, swap_message(NULL));
    cu__cmocka_raise(COPPER_CMOCKA_SKIPPED, file, line, NULL);
}

COPPER_INTERPOSE void cm_print_error(const char *const format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    if (n < 0)
        return;
    if (cu__cmocka_is_runner()) {
        void (*print)(const char *, ...) =
            (void (*)(const char *, ...))cu__cmocka_real("cm_print_error");
        print("%s", text);
        free(text);
        return;
    }
    char *before = swap_message(NULL), *joined = NULL;
    if (before != NULL && asprintf(&joined, "%s%s", before, text) >= 0) {
        free(before);
        free(text);
        text = joined;
    }
    swap_message(text);
}
