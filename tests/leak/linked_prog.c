/* SPDX-License-Identifier: Apache-2.0
 *
 * Knows nothing of leak checks; is linked with copper::leakcheck_at_exit. at_exit.py runs it.
 */
#include <copper/chan.h>
#include <copper/go.h>

/* What a stranded coroutine holds is lost on purpose here. */
__attribute__((visibility("default"))) const char *__lsan_default_options(void);
const char *__lsan_default_options(void)
{
    return "detect_leaks=0";
}

static void wait_for_ever(void *c)
{
    cu_recv(c, NULL);
}

static int app(void *is_leaky)
{
    if (is_leaky != NULL)
        cu_go(wait_for_ever, cu_chan_new(0, 0));
    return 0;
}

int main(int argc, char **argv)
{
    return cu_run(app, argc > 1 ? argv[1] : NULL);
}
