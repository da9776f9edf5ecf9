/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what the files of the command `copper` share: options, messages, exit statuses.
 *
 * Design. One file per concern: options.c reads the command line, program.c judges the program to be
 * started, address.c the address to serve on, launch.c prepares the environment and execs, record.c
 * records, report.c prints the table, fetch.c is the HTTP client. main.c is the list of verbs.
 *
 * The command is single-threaded.
 */
#ifndef COPPER_CLI_H
#define COPPER_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* As env(1): the command itself failed, the program cannot be run, the program was not found. */
enum cu__exit {
    COPPER_EXIT_FAILED = 125,
    COPPER_EXIT_CANNOT_RUN = 126,
    COPPER_EXIT_NOT_FOUND = 127,
};

#define COPPER_CLI_ANY_PORT   "127.0.0.1:0"
#define COPPER_CLI_ERROR_MAX  512
#define COPPER_NAME_MAX       64 /* of a process, as printed */
#define COPPER_ADDRESS_MAX    96

struct cu__event;

struct cu__options {
    const char *verb;
    const char *http;         /* where the program is to serve; NULL: any free loopback port */
    const struct cu__event *event; /* what to record */
    const char *output;       /* file name pattern, NULL: the default */
    const char *follow_names; /* NULL: all */
    double seconds;           /* 0: until the program ends or Ctrl-C; top: between two tables */
    int count;                /* top: tables; 0: until Ctrl-C */
    int hz;                   /* 0: the profiler's default */
    bool is_quiet, is_leakcheck, is_follow;
    char **program;           /* program and arguments, NULL: target */
    const char *target;       /* PID or NAME */
};

/* Reads the command line behind the verb. 0, or the exit status after saying what is wrong;
 * COPPER_OPTIONS_DONE: help was printed, nothing is left to do. (options.c) */
#define COPPER_OPTIONS_DONE (-1)
int cu__options_read(const char *verb, int argc, char **argv, struct cu__options *out);

/* One "copper: ..." line on stderr. note is silenced by --quiet, error is not. (say.c) */
void cu__quiet(bool is_quiet);
__attribute__((format(printf, 1, 2))) void cu__note(const char *format, ...);
__attribute__((format(printf, 1, 2))) void cu__error(const char *format, ...);

/* Help. topic NULL: the overview. False: no such topic. (help.c) */
bool cu__help(const char *topic);
/* The name nearest to `word` among the NULL-terminated names; NULL: none is near. (say.c) */
const char *cu__nearest(const char *word, const char *const *names);

/* The verbs. Return the exit status. */
int cu__run(const struct cu__options *o);
int cu__record(const struct cu__options *o);
int cu__list(const struct cu__options *o);
int cu__dump(const struct cu__options *o);
int cu__top(const struct cu__options *o);

#endif
