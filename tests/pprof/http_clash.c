/* SPDX-License-Identifier: Apache-2.0
 *
 * A program that defines names of the HTTP library itself gets no server, and its functions are
 * never called in the library's stead.
 */
#include <copper/profiler.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#pragma GCC visibility push(default)
void *mg_start(int x);
int mg_printf(void *connection, const char *format, ...);
#pragma GCC visibility pop

/* Of another library of the same naming. */
void *mg_start(int x)
{
    printf("the program's mg_start was called with %d\n", x);
    exit(1);
}

int mg_printf(void *connection, const char *format, ...)
{
    printf("the program's mg_printf was called: %p %s\n", connection, format);
    exit(1);
}

int main(void)
{
    int err = cu_pprof_serve("127.0.0.1:0");
    if (err != -ENOTSUP || cu_pprof_address() != NULL) {
        printf("serving returned %d\n", err);
        return 1;
    }
    err = cu_profile_cpu_file("/dev/null/x", 0.1, 0);
    if (err >= 0) {
        printf("a profile was written into /dev/null/x\n");
        return 1;
    }
    return 0;
}
