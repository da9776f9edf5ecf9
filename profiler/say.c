/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see say.h.
 */
#include "say.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void cu__say(const char *format, ...)
{
    char line[PATH_MAX + 512] = "copper: ";
    size_t n = strlen(line), room = sizeof(line) - n - 1; /* and the newline */
    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(line + n, room, format, args);
    va_end(args);
    if (wanted < 0) {
        return;
    }
    n += (size_t)wanted < room ? (size_t)wanted : room - 1;
    line[n++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, n);
    (void)ignored;
}
