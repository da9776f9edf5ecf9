/* SPDX-License-Identifier: Apache-2.0
 *
 * Quoted texts are what Go's %q makes of them, whatever bytes they have and however little room.
 */
#include "quote.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void as_go_quotes(void **state)
{
    static const char *const pairs[][2] = {
        {"plain", "\"plain\""},
        {"a \"b\" \\ c", "\"a \\\"b\\\" \\\\ c\""},
        {"\a\b\f\n\r\t\v", "\"\\a\\b\\f\\n\\r\\t\\v\""},
        {"\x01\x1f\x7f", "\"\\x01\\x1f\\x7f\""},
        {"\xc3\xa9\xe6\x97\xa5\xf0\x9f\x8e\x89", "\"\xc3\xa9\xe6\x97\xa5\xf0\x9f\x8e\x89\""},
        {"a\xff\xc3(b\xe6\x97", "\"a\\xff\\xc3(b\\xe6\\x97\""},
        {"\xc0\x80\xed\xa0\x80", "\"\\xc0\\x80\\xed\\xa0\\x80\""}, /* overlong, a surrogate */
        {"\xc2\x85\xc2\xa7", "\"\\u0085\xc2\xa7\""},
    };
    char out[64];
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        out[0] = '\0';
        cu__append_quoted(out, sizeof out, pairs[i][0]);
        assert_string_equal(out, pairs[i][1]);
    }
}

static void cut_between_characters(void **state)
{
    char out[32];
    (void)state;
    for (size_t cap = 1; cap <= sizeof out; cap++) {
        memset(out, 'x', sizeof out);
        out[0] = '\0';
        cu__append_quoted(out, cap, "\xe6\x97\xa5\xff\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5");
        size_t n = strlen(out);
        assert_true(n < cap && (n == 0 || (n >= 2 && out[n - 1] == '"')));
        for (size_t at = 0, step; at < n; at += step) {
            step = cu__utf8_sequence((const unsigned char *)out + at, n - at);
            assert_int_not_equal(step, 0);
        }
        for (size_t i = cap; i < sizeof out; i++) {
            assert_int_equal(out[i], 'x');
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_go_quotes),
        cmocka_unit_test(cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
