/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose. Named scopes: what one test spawns, told apart from what the others spawn.
 *
 * Design. The runtime keeps a scope number on every coroutine and thread and hands it on at each
 * spawn; here it gets a name and a check at its end.
 */
#include "leak_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

cu_leak_scope *cu_leak_scope_begin(const char *name)
{
    cu_leak_scope *scope = calloc(1, sizeof *scope);
    if (scope == NULL)
        return NULL;
    scope->name = strdup(name == NULL ? "scope" : name);
    if (scope->name != NULL)
        scope->number = cu_scope_enter(&scope->previous);
    if (scope->number == 0) {
        free(scope->name);
        free(scope);
        return NULL;
    }
    return scope;
}

uint64_t cu_leak_scope_number(const cu_leak_scope *scope)
{
    return scope->number;
}

int64_t cu_leak_scope_end(cu_leak_scope *scope, const struct cu_leak_options *options)
{
    if (scope == NULL)
        return -ENOMEM;
    cu_scope_leave(scope->previous);
    struct cu_leak_report *report;
    int64_t found = cu_leak_find(scope, options, &report);
    if (report != NULL)
        cu_leak_report_print(report, scope->name, options);
    cu_leak_report_free(report);
    free(scope->name);
    free(scope);
    return found;
}
