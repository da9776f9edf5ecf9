/* SPDX-License-Identifier: Apache-2.0 */
#include <copper/inspect.h>
#include <copper/label.h>
#include <copper/sync.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "coroutine_body.h"

static const struct cu_labels *here(void)
{
    struct cu_here h;
    cu_inspect_here(&h);
    return h.labels;
}

COROUTINE_TEST(sorted_and_shared)
{
    expect(cu_label_set("b", "2") == 0 && cu_label_set("a", "1") == 0);
    const struct cu_labels *ab = here();
    expect(cu_labels_count(ab) == 2);
    expect(strcmp(cu_labels_key(ab, 0), "a") == 0 && strcmp(cu_labels_value(ab, 0), "1") == 0);
    expect(strcmp(cu_labels_key(ab, 1), "b") == 0 && strcmp(cu_labels_value(ab, 1), "2") == 0);
    expect(cu_labels_key(ab, 2) == NULL);
    expect(cu_label_set("a", "3") == 0 && here() != ab && strcmp(cu_label_get("a"), "3") == 0);
    expect(cu_label_set("a", "1") == 0 && here() == ab);
    expect(cu_label_set("a", NULL) == 0 && cu_label_get("a") == NULL);
    expect(cu_label_set("b", "") == 0 && here() == NULL);
    expect(strcmp(cu_labels_value(ab, 0), "1") == 0); /* sets live on */
    return 0;
}

static const struct cu_labels *childs;

static void child(void *unused)
{
    (void)unused;
    childs = here();
    cu_label_set("who", "child");
}

COROUTINE_TEST(children_inherit)
{
    cu_wg wg = {0};
    cu_label_set("who", "parent");
    cu_wg_go(&wg, child, NULL);
    cu_wg_wait(&wg);
    expect(childs == here() && strcmp(cu_label_get("who"), "parent") == 0);
    return 0;
}

static void push_and_leave(void)
{
    COPPER_LABEL_SCOPE("stage", "inner");
    COPPER_LABEL_SCOPE("more", "yes");
    cu_label_set("stage", "changed inside");
}

static int both_scopes(void)
{
    const struct cu_labels *before = here();
    expect(before && strcmp(cu_label_get("who"), "outer") == 0);
    for (int i = 0; i < 3; i++) {
        COPPER_LABEL_SCOPE("stage", "outer");
        expect(strcmp(cu_label_get("stage"), "outer") == 0);
        push_and_leave();
        expect(strcmp(cu_label_get("stage"), "outer") == 0 && cu_label_get("more") == NULL);
        if (i == 1) {
            continue;
        }
        COPPER_LABEL_SCOPE("who", NULL); /* takes one away for a while */
        expect(cu_label_get("who") == NULL);
    }
    expect(here() == before);
    struct cu_label_scope wrong = cu_label_push("", "x");
    expect(wrong.err == -EINVAL && here() == before);
    cu_label_pop(&wrong);
    expect(here() == before);
    struct cu_label_scope once = cu_label_push("once", "1");
    expect(once.err == 0 && strcmp(cu_label_get("once"), "1") == 0);
    cu_label_pop(&once);
    expect(here() == before);
    return 0;
}

COROUTINE_TEST(scopes_end)
{
    cu_label_set("who", "outer");
    return both_scopes();
}

static void *scopes_of_thread(void *unused)
{
    (void)unused;
    static int line;
    cu_label_set("who", "outer");
    line = both_scopes();
    return &line;
}

static void plain_threads_too(void **state)
{
    (void)state;
    pthread_t t;
    void *line;
    assert_int_equal(pthread_create(&t, NULL, scopes_of_thread, NULL), 0);
    pthread_join(t, &line);
    assert_int_equal(*(int *)line, 0);
}

/* Parks in its scope, and may go on elsewhere; others do not see it. */
static void in_scope(void *wg)
{
    COPPER_LABEL_SCOPE("who", "child");
    childs = here();
    for (int i = 0; i < 20; i++) {
        cu_yield();
        if (here() != childs) {
            childs = NULL;
            break;
        }
    }
    cu_wg_done(wg);
}

COROUTINE_TEST(children_keep_what_they_inherited)
{
    cu_wg wg = {0}, done = {0};
    {
        COPPER_LABEL_SCOPE("who", "parent");
        cu_wg_add(&done, 1);
        cu_wg_go(&wg, in_scope, &done);
    }
    expect(cu_label_get("who") == NULL);
    cu_wg_wait(&done);
    expect(childs && strcmp(cu_labels_value(childs, 0), "child") == 0);
    cu_wg_wait(&wg);
    {
        COPPER_LABEL_SCOPE("who", "parent");
        cu_wg_go(&wg, child, NULL);
    }
    cu_wg_wait(&wg);
    expect(childs && strcmp(cu_labels_value(childs, 0), "parent") == 0);
    expect(cu_label_get("who") == NULL);
    return 0;
}

static void limits(void **state)
{
    (void)state;
    char longest[COPPER_LABEL_BYTES_MAX + 2], key[16];
    memset(longest, 'x', sizeof(longest));
    longest[COPPER_LABEL_BYTES_MAX + 1] = 0;
    assert_int_equal(cu_label_set(NULL, "x"), -EINVAL);
    assert_int_equal(cu_label_set("", "x"), -EINVAL);
    assert_int_equal(cu_label_set(longest, "x"), -ENAMETOOLONG);
    assert_int_equal(cu_label_set("x", longest), -ENAMETOOLONG);
    longest[COPPER_LABEL_BYTES_MAX] = 0;
    assert_int_equal(cu_label_set("x", longest), 0);
    assert_string_equal(cu_label_get("x"), longest);
    for (int i = 1; i < COPPER_LABELS_MAX; i++) {
        snprintf(key, sizeof(key), "key%d", i);
        assert_int_equal(cu_label_set(key, "v"), 0);
    }
    const struct cu_labels *full = here();
    assert_int_equal(cu_label_set("one more", "v"), -E2BIG);
    assert_int_equal(cu_label_set("zzz", "v"), -E2BIG);
    assert_ptr_equal(here(), full);
    assert_int_equal(cu_label_set("x", "changed"), 0);
    int error = 0;
    for (int i = 0; i < COPPER_LABEL_SETS_MAX && error == 0; i++) {
        snprintf(key, sizeof(key), "%d", i);
        error = cu_label_set("x", key);
    }
    assert_int_equal(error, -ENOSPC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sorted_and_shared),
        cmocka_unit_test(children_inherit),
        cmocka_unit_test(scopes_end),
        cmocka_unit_test(plain_threads_too),
        cmocka_unit_test(children_keep_what_they_inherited),
        cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
