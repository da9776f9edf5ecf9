/* SPDX-License-Identifier: Apache-2.0
 *
 * A memo that holds stands for the very frames that a walk finds, whichever way the stack came to
 * be: calls in any order, in functions that count from sp and in ones that count from bp.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* in this order */
#include <setjmp.h>

#include <alloca.h>
#include <cmocka.h>
#include <copper/stacks.h>
#include <string.h>
#include <ucontext.h>

#define FRAMES 64
#define MEMOS  16
#define LOOKS  200000

extern void *__libc_stack_end;

static struct memo {
    struct cu_walk_memo memo;
    bool is_filled;
    cu_frame frames[FRAMES];
    unsigned n;
} memos[MEMOS];

static unsigned held, refused, unfit, wrong;
static uint64_t state = 1;
static volatile unsigned sink;

static unsigned chance(unsigned n)
{
    state = state * UINT64_C(6364136223846793005) + 1;
    return (unsigned)(state >> 40) % n;
}

static void judge(const struct memo *m, const struct cu_walk *w)
{
    bool is_same = m->n == w->n && memcmp(m->frames, w->frames, w->n * sizeof(cu_frame)) == 0;
    if (!is_same) {
        wrong++;
    }
}

static __attribute__((noinline)) void look(void)
{
    ucontext_t context;
    cu_frame frames[FRAMES];
    struct cu_walk w = {.max = FRAMES, .frames = frames};
    getcontext(&context);
    cu_regs_from_context_sig(&w.regs, &context);
    w.lo = w.regs.sp;
    w.hi = (uint64_t)(uintptr_t)__libc_stack_end;
    w.is_call_site = true;
    struct memo *m = &memos[chance(MEMOS)];
    const struct cu_walk start = w;
    bool holds = m->is_filled && cu_walk_memo_holds_sig(&m->memo, &start);
    cu_stack_walk_sig(&w);
    if (holds) {
        held++;
        judge(m, &w);
        return;
    }
    refused += m->is_filled;
    m->is_filled = w.end == COPPER_WALK_ROOT && cu_walk_memo_fill_sig(&m->memo, &start);
    unfit += !m->is_filled;
    memcpy(m->frames, frames, w.n * sizeof(cu_frame));
    m->n = w.n;
}

static void call(unsigned depth);

static __attribute__((noinline)) void by_sp(unsigned depth)
{
    call(depth);
    sink++;
}

static __attribute__((noinline)) void by_sp_elsewhere(unsigned depth)
{
    sink++;
    call(depth);
    sink++;
}

/* Its frame has a size that only its bp tells: the same return addresses, further apart. */
static __attribute__((noinline)) void by_bp(unsigned depth)
{
    volatile char *room = alloca(16 + 16 * chance(3));
    room[0] = (char)depth;
    call(depth);
    sink += (unsigned)room[0];
}

static __attribute__((noinline)) void call(unsigned depth)
{
    static void (*const ways[])(unsigned) = {by_sp, by_sp_elsewhere, by_bp};
    if (depth == 0) {
        look();
    } else {
        ways[chance(3)](depth - 1);
    }
    sink++;
}

static void memos_hold_for_the_same_stacks_alone(void **unused)
{
    (void)unused;
    assert_int_equal(cu_stacks_prepare(), 0);
    for (int i = 0; i < LOOKS; i++) {
        call(chance(4));
    }
    assert_int_equal(wrong, 0);
    assert_true(held > LOOKS / 100 && refused > LOOKS / 100 && unfit < LOOKS / 2);
}

static void another_bp_is_another_way(void **unused)
{
    uint64_t stack[8] = {0};
    struct cu_walk_memo memo = {
        .pc = 1000, .n = 2, .absolute = 1, .top = 3, .at = {3, 1}, .words = {77, 16}};
    struct cu_walk w = {.lo = (uint64_t)(uintptr_t)stack, .hi = (uint64_t)(uintptr_t)(stack + 8)};
    (void)unused;
    w.regs = (struct cu_regs){.pc = 1000, .sp = w.lo, .bp = w.lo + 8};
    stack[1] = w.lo + 16;
    stack[3] = 77;
    assert_true(cu_walk_memo_holds_sig(&memo, &w));
    stack[1] = w.lo + 24;
    assert_false(cu_walk_memo_holds_sig(&memo, &w));
    stack[1] = w.lo + 16;
    memo.needs_bp = true;
    memo.bp = 16;
    assert_false(cu_walk_memo_holds_sig(&memo, &w));
    memo.bp = 8;
    assert_true(cu_walk_memo_holds_sig(&memo, &w));
    w.hi = w.lo + 24; /* a shorter stack: nothing beyond is read */
    assert_false(cu_walk_memo_holds_sig(&memo, &w));
    w.hi = w.lo + 64;
    w.is_call_site = true;
    assert_false(cu_walk_memo_holds_sig(&memo, &w));
    memo.pc = 0;
    w.is_call_site = false;
    w.regs.pc = 0;
    assert_false(cu_walk_memo_holds_sig(&memo, &w));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memos_hold_for_the_same_stacks_alone),
        cmocka_unit_test(another_bp_is_another_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
