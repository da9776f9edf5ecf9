/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a program of many small cases, of which the first argument chooses one, each in a
 * process of its own because of how it ends or what it does to the process. Exits with the case's
 * result; 99: a check failed; 98: there is no such case.
 */
#ifndef COPPER_TEST_CASES_H
#define COPPER_TEST_CASES_H

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define check(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #x);                  \
            _exit(99);                                                                             \
        }                                                                                          \
    } while (0)

struct test_case {
    const char *name;
    int (*run)(void);
};

static inline int run_case(const struct test_case *cases, size_t count, int argc, char **argv)
{
    for (size_t i = 0; argc == 2 && i < count; i++) {
        if (strcmp(argv[1], cases[i].name) == 0) {
            return cases[i].run();
        }
    }
    fprintf(stderr, "no such case\n");
    return 98;
}

/* From now on the system calls of this process go through this filter too. */
static inline void filter_calls(struct sock_filter *code, size_t count)
{
    struct sock_fprog program = {.len = (unsigned short)count, .filter = code};
    check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

#endif
