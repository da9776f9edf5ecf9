/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the command `copper`: picks the verb.
 */
#include "cli.h"

#include <stdio.h>
#include <string.h>

static const char *const verbs[] = {"run", "record", "top", "dump", "list", "help", NULL};

static int help(const char *topic)
{
    if (cu__help(topic)) {
        return 0;
    }
    cu__error("no help on %s; copper help", topic ? topic : "nothing");
    return COPPER_EXIT_FAILED;
}

static int unknown_verb(const char *word)
{
    const char *near = cu__nearest(word, verbs);
    if (near) {
        cu__error("%s is not a verb; %s?", word, near);
    } else {
        cu__error("%s is not a verb; copper help", word);
    }
    return COPPER_EXIT_FAILED;
}

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";
    if (argc < 2 || strcmp(verb, "help") == 0 || strcmp(verb, "--help") == 0 ||
        strcmp(verb, "-h") == 0) {
        int status = help(argc > 2 ? argv[2] : NULL);
        return argc < 2 ? COPPER_EXIT_FAILED : status;
    }
    if (strcmp(verb, "--version") == 0 || strcmp(verb, "version") == 0) {
        puts("copper " COPPER_VERSION);
        return 0;
    }
    static const struct {
        const char *name;
        int (*run)(const struct cu__options *);
    } table[] = {{"run", cu__run}, {"record", cu__record}, {"list", cu__list},
                 {"dump", cu__dump}, {"top", cu__top}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcmp(verb, table[i].name) == 0) {
            struct cu__options o;
            int status = cu__options_read(verb, argc - 1, argv + 1, &o);
            if (status) {
                return status == COPPER_OPTIONS_DONE ? 0 : status;
            }
            cu__quiet(o.is_quiet);
            return table[i].run(&o);
        }
    }
    return unknown_verb(verb);
}
