/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: `copper dump`: every coroutine and thread with its stack, now.
 */
#include "fetch.h"
#include "targets.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int cu__dump(const struct cu__options *o)
{
    struct cu__target target;
    struct cu__fetch f;
    const char *body;
    size_t n;
    char error[COPPER_CLI_ERROR_MAX];
    int status = cu__target_required(o, &target);
    if (status) {
        return status;
    }
    if (cu__fetch_now(&f, target.address, "/debug/pprof/goroutine?debug=2&threads=1", &body, &n,
                      error)) {
        cu__error("%s[%d]: %s", target.name, (int)target.pid, error);
        status = COPPER_EXIT_FAILED;
    } else if (fwrite(body, 1, n, stdout) != n || fflush(stdout) != 0) {
        cu__error("cannot write the dump: %s", strerror(errno));
        status = COPPER_EXIT_FAILED;
    }
    cu__fetch_end(&f);
    return status;
}
