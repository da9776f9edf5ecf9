/* SPDX-License-Identifier: Apache-2.0
 *
 * The parsers of the HTTP side take any bytes and read numbers as Go does.
 */
#include "http_query.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void query_values(void **state)
{
    static const struct {
        const char *query, *name, *value; /* value NULL: absent */
    } cases[] = {
        {"a=1&b=2", "a", "1"},  {"a=1&b=2", "b", "2"},     {"a=1&a=2", "a", "1"},
        {"a=1", "b", NULL},     {"", "a", NULL},           {NULL, "a", NULL},
        {"a", "a", ""},         {"a=", "a", ""},           {"&&a=1", "a", "1"},
        {"aa=1&a=2", "a", "2"}, {"a=b=c", "a", "b=c"},     {"a=%31%32", "a", "12"},
        {"%61=x", "a", "x"},    {"a=1+2", "a", "1 2"},     {"a=%zz&a=3", "a", "3"},
        {"a=%3", "a", NULL},    {"a=1;b=2&a=4", "a", "4"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char value[COPPER_QUERY_VALUE_MAX];
        bool is_there = cu__query_value(cases[i].query, cases[i].name, value);
        if (is_there != (cases[i].value != NULL) ||
            (is_there && strcmp(value, cases[i].value) != 0)) {
            fail_msg("case %zu: %d %s", i, is_there, value);
        }
    }
}

static void long_values_are_no_numbers(void **state)
{
    char query[300] = "seconds=", value[COPPER_QUERY_VALUE_MAX];
    int64_t number;
    (void)state;
    memset(query + 8, '0', 280);
    query[288] = '1';
    assert_true(cu__query_value(query, "seconds", value));
    assert_int_equal(strlen(value), COPPER_QUERY_VALUE_MAX - 1);
    memset(query + 8, '7', 280);
    assert_true(cu__query_value(query, "seconds", value));
    assert_false(cu__parse_int(value, &number));
}

static void integers(void **state)
{
    static const char *const bad[] = {"",
                                      "-",
                                      "+",
                                      "1.5",
                                      " 1",
                                      "1 ",
                                      "0x1",
                                      "1e3",
                                      "--1",
                                      "abc",
                                      "9223372036854775808",
                                      "-9223372036854775809"};
    int64_t value;
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (cu__parse_int(bad[i], &value)) {
            fail_msg("\"%s\" was read as %lld", bad[i], (long long)value);
        }
    }
    assert_true(cu__parse_int("0", &value) && value == 0);
    assert_true(cu__parse_int("+30", &value) && value == 30);
    assert_true(cu__parse_int("-7", &value) && value == -7);
    assert_true(cu__parse_int("007", &value) && value == 7);
    assert_true(cu__parse_int("9223372036854775807", &value) && value == INT64_MAX);
    assert_true(cu__parse_int("-9223372036854775808", &value) && value == INT64_MIN);
    assert_int_equal(cu__query_int("debug=2", "debug"), 2);
    assert_int_equal(cu__query_int("debug=abc", "debug"), 0);
    assert_int_equal(cu__query_int(NULL, "debug"), 0);
}

static void addresses(void **state)
{
    static const struct {
        const char *text;
        uint64_t value; /* 0: refused, or zero */
    } cases[] = {
        {"0x401000", 0x401000},
        {"0X4aF", 0x4af},
        {"4198400", 4198400},
        {"017", 15},
        {"0o17", 15},
        {"0b101", 5},
        {"0xffffffffffffffff", UINT64_MAX},
        {"0x10000000000000000", 0},
        {"18446744073709551616", 0},
        {"0x", 0},
        {"", 0},
        {"0", 0},
        {"08", 0},
        {"-1", 0},
        {"1 ", 0},
        {"12g", 0},
        {"0xg", 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t value = 0;
        bool is_read = cu__parse_address(cases[i].text, strlen(cases[i].text), &value);
        if ((is_read ? value : 0) != cases[i].value) {
            fail_msg("\"%s\": %d %#llx", cases[i].text, is_read, (unsigned long long)value);
        }
    }
}

static void host_names(void **state)
{
    static const struct {
        const char *text, *name;
    } cases[] = {
        {"localhost", "localhost"},
        {"LocalHost:80", "localhost"},
        {"127.0.0.1:6060", "127.0.0.1"},
        {"[::1]:80", "::1"},
        {"[::1]", "::1"},
        {"host:", "host"},
        {"", NULL},
        {":80", NULL},
        {"a:b", NULL},
        {"a:1:2", NULL},
        {"[::1", NULL},
        {"[::1]x", NULL},
        {"[::1]:x", NULL},
        {"a:123456", NULL},
        {"[]", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char name[32];
        bool is_read = cu__host_name(cases[i].text, name, sizeof(name));
        if (is_read != (cases[i].name != NULL) || (is_read && strcmp(name, cases[i].name) != 0)) {
            fail_msg("\"%s\": %d", cases[i].text, is_read);
        }
    }
    char tiny[4];
    assert_false(cu__host_name("abcd", tiny, sizeof(tiny)));
    assert_true(cu__host_name("abc", tiny, sizeof(tiny)));
}

static void secrets(void **state)
{
    static const struct {
        const char *value, *secret;
    } cases[] = {
        {"Bearer abc", "abc"},
        {"bearer   abc", "abc"},
        {"Bearer ", ""},
        {"Basic eDp0b2tlbg==", "token"}, /* x:token */
        {"basic OmE=", "a"},             /* :a */
        {"Basic YTo=", ""},              /* a: */
        {"Basic YTpiOmM=", "b:c"},       /* a:b:c */
        {"Basic YWJj", NULL},            /* abc */
        {"Basic", NULL},
        {"Basic ", NULL},
        {"Basic *", NULL},
        {"Basic eDp0=b2", NULL},
        {"abc", NULL},
        {"", NULL},
        {"Digest abc", NULL},
    };
    char secret[16];
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t n = cu__authorization_secret(cases[i].value, secret, sizeof(secret));
        const char *want = cases[i].secret;
        if (want ? n != (int64_t)strlen(want) || memcmp(secret, want, strlen(want)) != 0 : n >= 0) {
            fail_msg("\"%s\": %lld", cases[i].value, (long long)n);
        }
    }
    assert_int_equal(cu__authorization_secret("Bearer 12345678901234567", secret, sizeof(secret)),
                     -1);
    assert_int_equal(
        cu__authorization_secret("Basic eDoxMjM0NTY3ODkwMTIzNDU2Nzg5MA==", secret, sizeof(secret)),
        -1);
}

static void equal_secrets(void **state)
{
    (void)state;
    assert_true(cu__equal_secret("abc", 3, "abc", 3));
    assert_false(cu__equal_secret("abd", 3, "abc", 3));
    assert_false(cu__equal_secret("ab", 2, "abc", 3));
    assert_false(cu__equal_secret("abcabc", 6, "abc", 3));
    assert_false(cu__equal_secret("", 0, "abc", 3));
    assert_false(cu__equal_secret("a", 1, "", 0));
}

/* Random bytes through all of them: nothing may be read or written out of place (see the asan
 * build). */
static void any_bytes(void **state)
{
    unsigned seed = 12345;
    (void)state;
    for (int i = 0; i < 20000; i++) {
        char text[64], out[32], value[COPPER_QUERY_VALUE_MAX];
        static const char alphabet[] = "a=&%3;+x0[]:. /=Bearer Basic\xff";
        size_t n = (size_t)rand_r(&seed) % sizeof(text);
        for (size_t j = 0; j < n; j++) {
            text[j] = alphabet[(size_t)rand_r(&seed) % (sizeof(alphabet) - 1)];
        }
        text[n < sizeof(text) ? n : sizeof(text) - 1] = '\0';
        uint64_t address;
        int64_t number;
        if (cu__query_value(text, "a", value)) {
            assert_true(strlen(value) < sizeof(value));
            cu__parse_int(value, &number);
        }
        cu__parse_address(text, strlen(text), &address);
        if (cu__host_name(text, out, sizeof(out))) {
            assert_true(strlen(out) < sizeof(out));
        }
        assert_true(cu__authorization_secret(text, out, sizeof(out)) <= (int64_t)sizeof(out));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(query_values),  cmocka_unit_test(long_values_are_no_numbers),
        cmocka_unit_test(integers),      cmocka_unit_test(addresses),
        cmocka_unit_test(host_names),    cmocka_unit_test(secrets),
        cmocka_unit_test(equal_secrets), cmocka_unit_test(any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
