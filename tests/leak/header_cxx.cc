/* SPDX-License-Identifier: Apache-2.0
 *
 * The public headers of the leak checker, used from C++.
 */
/* members left out of an initialiser are fine in C++, with a warning */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#include <cstdarg>
#include <cstddef>
#include <cstdint>

#include <csetjmp>

#include <copper/chan.h>
#include <copper/cmocka.h>
#include <copper/leakcheck.h>

static void wait_for_ever(void *c)
{
    cu_recv(static_cast<cu_chan *>(c), nullptr);
}

static void finds_one(void **state)
{
    (void)state;
    const struct cu_leak_options quiet = {
        .size = sizeof quiet, .timeout_ns = COPPER_LEAK_TIMEOUT_DEFAULT_NS, .fd = -1};
    cu_chan *c = cu_chan_new(0, 0);
    cu_leak_scope *scope = cu_leak_scope_begin("c++");
    cu_go(wait_for_ever, c);
    assert_int_equal(cu_leak_scope_end(scope, &quiet), 1);
    cu_chan_close(c); /* lets it go */
    cu_quiesce(0, COPPER_LEAK_TIMEOUT_DEFAULT_NS);
    cu_chan_unref(c);
}

static int set_state(void **state)
{
    static int seventeen = 17;
    *state = &seventeen;
    return 0;
}

static void has_state(void **state)
{
    assert_int_equal(*static_cast<int *>(*state), 17);
}

int main()
{
    int local = 17;
    const struct CMUnitTest tests[] = {
        cu_cmocka_test(finds_one),
        cu_cmocka_test_setup(has_state, set_state),
        cu_cmocka_test_prestate(has_state, &local),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
