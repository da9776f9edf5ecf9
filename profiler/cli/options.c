/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: reads `[options] PID|NAME` or `[options] [--] PROG ARGS`. Options end at the first word
 * that is none, so PROG's own are left alone.
 */
#include "cli.h"
#include "events.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPPER_HZ_MAX      10000
#define COPPER_COUNT_MAX   1000000
#define COPPER_SECONDS_MAX (365.0 * 24 * 3600)

enum { OPTION_HTTP = 256, OPTION_QUIET, OPTION_LEAKCHECK, OPTION_FOLLOW, OPTION_HZ, OPTION_HELP };

static const struct option all_options[] = {
    {"http", required_argument, NULL, OPTION_HTTP},
    {"quiet", no_argument, NULL, OPTION_QUIET},
    {"leakcheck", no_argument, NULL, OPTION_LEAKCHECK},
    {"follow", optional_argument, NULL, OPTION_FOLLOW},
    {"hz", required_argument, NULL, OPTION_HZ},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

/* Which options a verb has, by their letters or codes. */
static bool verb_has(const char *verb, int option)
{
    if (option == OPTION_HELP || option == OPTION_QUIET) {
        return true;
    }
    if (strcmp(verb, "list") == 0 || strcmp(verb, "dump") == 0) {
        return false;
    }
    if (strcmp(verb, "top") == 0) {
        return option == 'd' || option == 'n';
    }
    if (option == 'n') {
        return false;
    }
    bool is_launching = option == OPTION_HTTP || option == OPTION_LEAKCHECK ||
                        option == OPTION_FOLLOW;
    return strcmp(verb, "record") == 0 || is_launching;
}

static int bad_option(const char *verb, const char *word)
{
    cu__error("%s has no option %s; copper help %s", verb, word, verb);
    return COPPER_EXIT_FAILED;
}

static int read_number(const char *option, const char *text, int most, int *out)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (end == text || *end != '\0' || errno || value < 1 || value > most) {
        cu__error("%s %s: not a number from 1 to %d", option, text, most);
        return COPPER_EXIT_FAILED;
    }
    *out = (int)value;
    return 0;
}

static int read_seconds(const char *text, double *out)
{
    char *end;
    double value = strtod(text, &end);
    if (end != text && strcmp(end, "s") == 0) {
        end++;
    }
    if (end == text || *end != '\0' || !isfinite(value) || value <= 0 ||
        value > COPPER_SECONDS_MAX) {
        cu__error("-d %s: not a number of seconds, or more than a year", text);
        return COPPER_EXIT_FAILED;
    }
    *out = value;
    return 0;
}

static int read_event(const char *text, const struct cu__event **out)
{
    *out = cu__event_find(text);
    if (!*out) {
        cu__error("-e %s: not something to record; these are: %s", text, cu__event_names());
        return COPPER_EXIT_FAILED;
    }
    return 0;
}

/* A folder that is not there, or not to be written to, is found out before anything runs. */
static int read_output(const char *text, const char **out)
{
    const char *slash = strrchr(text, '/');
    char folder[PATH_MAX] = ".";
    struct stat st;
    int error = 0;
    if (*text == '\0' || (slash && slash[1] == '\0')) {
        cu__error("-o \"%s\": not the name of a file", text);
        return COPPER_EXIT_FAILED;
    }
    if (slash) {
        snprintf(folder, sizeof folder, "%.*s", (int)(slash - text) + 1, text);
    }
    if (stat(text, &st) == 0 && !S_ISREG(st.st_mode)) {
        error = S_ISDIR(st.st_mode) ? EISDIR : 0; /* what is no file is written to directly */
    } else if (!strchr(folder, '%') && faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) != 0) {
        error = errno;
    }
    if (error) {
        cu__error("-o %s: %s", text, strerror(error));
        return COPPER_EXIT_FAILED;
    }
    *out = text;
    return 0;
}

static int take_option(int option, struct cu__options *o)
{
    switch (option) {
    case OPTION_HTTP:
        o->http = optarg;
        return 0;
    case OPTION_QUIET:
        o->is_quiet = true;
        return 0;
    case OPTION_LEAKCHECK:
        o->is_leakcheck = true;
        return 0;
    case OPTION_FOLLOW:
        o->is_follow = true;
        o->follow_names = optarg;
        return 0;
    case OPTION_HZ:
        return read_number("--hz", optarg, COPPER_HZ_MAX, &o->hz);
    case 'd':
        return read_seconds(optarg, &o->seconds);
    case 'n':
        return read_number("-n", optarg, COPPER_COUNT_MAX, &o->count);
    case 'e':
        return read_event(optarg, &o->event);
    case 'o':
        return read_output(optarg, &o->output);
    default:
        cu__help(o->verb);
        return COPPER_OPTIONS_DONE;
    }
}

static int missing_value(const char *verb, const char *word)
{
    cu__error("%s needs a value; copper help %s", word, verb);
    return COPPER_EXIT_FAILED;
}

/* The words behind the options: a program, or one word that may be a target. */
static int take_operands(struct cu__options *o, char **words, int n, bool is_program)
{
    if (strcmp(o->verb, "list") == 0) {
        if (n > 0) {
            cu__error("list takes no %s; copper help list", words[0]);
            return COPPER_EXIT_FAILED;
        }
        return 0;
    }
    if (n == 0) {
        cu__error("%s what? copper help %s", o->verb, o->verb);
        return COPPER_EXIT_FAILED;
    }
    o->program = words;
    if (n == 1 && !is_program) {
        o->target = words[0];
    }
    return 0;
}

int cu__options_read(const char *verb, int argc, char **argv, struct cu__options *out)
{
    *out = (struct cu__options){.verb = verb, .event = cu__event_find("cpu")};
    opterr = 0;
    optind = 1;
    for (;;) {
        int at = optind;
        int option = getopt_long(argc, argv, "+:d:e:o:n:h", all_options, NULL);
        if (option == -1) {
            break;
        }
        if (option == '?') {
            return bad_option(verb, argv[at]);
        }
        if (option == ':') {
            return missing_value(verb, argv[at]);
        }
        if (option == 'h') {
            option = OPTION_HELP;
        }
        if (!verb_has(verb, option)) {
            return bad_option(verb, argv[at]);
        }
        int status = take_option(option, out);
        if (status) {
            return status;
        }
    }
    bool is_program = optind > 1 && strcmp(argv[optind - 1], "--") == 0;
    return take_operands(out, argv + optind, argc - optind, is_program);
}
