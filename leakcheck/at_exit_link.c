/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose. Linking this object (copper::leakcheck_at_exit) turns the report at exit on, with no
 * environment variable and no call.
 */
#include <copper/leakcheck.h>
#include <stdio.h>

/* Named on the link line of whoever uses the archive: what makes the linker take this object. */
extern const int cu_leak_at_exit_linked;
const int cu_leak_at_exit_linked = 1;

__attribute__((constructor)) static void turn_on(void)
{
    if (cu_leak_check_at_exit() < 0)
        fputs("copper: no leak check at exit: out of memory\n", stderr);
}
