/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: names, lines and inlined calls of known addresses; modules and epochs.
 */
#include <copper/stacks.h>
#include <dlfcn.h>
#include <limits.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define IS_SANITIZED
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define IS_SANITIZED
#endif
#endif

#define FILE_NAME "/tests/unit/stacks_symbolize_test.c"

static uint64_t captured;
static uint32_t inner_line, middle_line, outer_line, inner_start;

/* The address right behind the asm is inside inner, which is inside wrapper, which is
 * inside middle, which is inside outer. */
static inline __attribute__((always_inline)) void inner(void)
{
    inner_start = __LINE__ - 2;
    inner_line = __LINE__ + 1;
    __asm__ volatile("lea 0f(%%rip), %0\n0: nop" : "=r"(captured));
}

/* None that its author wants shown. */
static inline __attribute__((always_inline, artificial)) void wrapper(void)
{
    inner();
}

static inline __attribute__((always_inline)) void middle(void)
{
    middle_line = __LINE__ + 1;
    wrapper();
}

static __attribute__((noinline)) void outer(void)
{
    outer_line = __LINE__ + 1;
    middle();
}

static cu_frame frame_at(uint64_t pc)
{
    const struct cu_module *m = cu_module_at(pc);
    return (uint64_t)(m ? m->id : 0) << 48 | pc;
}

static uint64_t address(void (*f)(void))
{
    return (uint64_t)(uintptr_t)f;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static void inlined_calls_are_shown(void **state)
{
    (void)state;
    struct cu_symbol symbol;
    struct cu_symbolizer *s = cu_symbolizer_open();
    outer();
    cu_symbolize(s, frame_at(captured), &symbol);
    assert_true(symbol.is_named);
    assert_int_equal(symbol.nlines, 3);
    static const char *const names[] = {"inner", "middle", "outer"};
    const uint32_t lines[] = {inner_line, middle_line, outer_line};
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(symbol.lines[i].function, names[i]);
        assert_int_equal(symbol.lines[i].line, lines[i]);
        assert_non_null(symbol.lines[i].file);
        assert_int_equal(symbol.lines[i].file[0], '/');
        assert_true(ends_with(symbol.lines[i].file, FILE_NAME));
    }
    assert_int_equal(symbol.lines[0].start_line, inner_start);
    assert_int_equal(symbol.start, address(outer));
    /* the same again comes from the cache */
    struct cu_symbol again;
    cu_symbolize(s, frame_at(captured), &again);
    assert_ptr_equal(again.lines, symbol.lines);
    cu_symbolizer_close(s);
}

/* libc's own, also where a sanitizer stands in front of it */
static cu_frame frame_in_libc(const char *name)
{
    void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_LOCAL);
    assert_non_null(libc);
    uint64_t pc = (uint64_t)(uintptr_t)dlsym(libc, name);
    assert_int_not_equal(pc, 0);
    dlclose(libc);
    return frame_at(pc + 1);
}

/* Of several names of one function the one that programs call it by, without its version. */
static void libc_has_public_names(void **state)
{
    (void)state;
    static const char *const names[] = {"qsort", "malloc", "printf", "putenv"};
    struct cu_symbolizer *s = cu_symbolizer_open();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct cu_symbol symbol;
        cu_symbolize(s, frame_in_libc(names[i]), &symbol);
        assert_string_equal(symbol.lines[symbol.nlines - 1].function, names[i]);
    }
    cu_symbolizer_close(s);
}

static void vdso_is_named(void **state)
{
    (void)state;
    struct cu_symbol symbol;
    uint64_t base = getauxval(AT_SYSINFO_EHDR);
    const struct cu_module *m = cu_module_at(base + 0x100);
    assert_non_null(m);
    assert_string_equal(m->path, "[vdso]");
    assert_true(strlen(m->build_id) >= 16);
    struct cu_symbolizer *s = cu_symbolizer_open();
    unsigned named = 0;
    for (uint64_t pc = m->start; pc < m->limit; pc += 16) {
        cu_symbolize(s, frame_at(pc), &symbol);
        named += symbol.is_named && strcmp(symbol.lines[0].function, "__vdso_clock_gettime") == 0;
    }
    assert_true(named > 0);
    cu_symbolizer_close(s);
}

/* What a lazily bound call goes through, named after what it reaches. */
static void plt_stubs_are_named(void **state)
{
    (void)state;
    const struct cu_module *m = cu_module_main();
    struct cu_symbolizer *s = cu_symbolizer_open();
    bool is_found = false;
    for (uint64_t pc = m->start; pc < m->limit; pc += 4) {
        struct cu_symbol symbol;
        cu_symbolize(s, (uint64_t)m->id << 48 | pc, &symbol);
        is_found |= strcmp(symbol.lines[0].function, "cu_stacks_prepare@plt") == 0;
    }
    assert_true(is_found);
    cu_symbolizer_close(s);
}

/* A name only where the pc lies inside the symbol; everywhere else file+0xADDRESS. */
static void nothing_is_named_beyond_its_symbol(void **state)
{
    (void)state;
    struct cu_symbol symbol;
    struct cu_symbolizer *s = cu_symbolizer_open();
    const struct cu_module *m = cu_module_main();
    assert_non_null(m);
    assert_true(m->is_main);
    cu_symbolize(s, (uint64_t)m->id << 48 | (m->limit - 1), &symbol);
    assert_false(symbol.is_named);
    assert_int_equal(symbol.nlines, 1);
    assert_non_null(strstr(symbol.lines[0].function, "stacks_symbolize_test+0x"));
    cu_symbolize(s, 0x123456, &symbol);
    assert_false(symbol.is_named);
    assert_string_equal(symbol.lines[0].function, "unknown+0x123456");
    cu_symbolizer_close(s);
}

static void modules_are_remembered(void **state)
{
    (void)state;
    struct cu_stacks_stats stats;
    cu_stacks_stats_read(&stats);
    assert_true(stats.modules >= 4);
    assert_true(stats.rows > 10000);
    assert_null(cu_module_by_id(0));
    assert_null(cu_module_by_id((uint32_t)stats.modules + 1));
    unsigned mains = 0;
    for (uint32_t id = 1; id <= stats.modules; id++) {
        const struct cu_module *m = cu_module_by_id(id);
        assert_int_equal(m->id, id);
        assert_true(m->start < m->limit);
        assert_null(strstr(m->path, "(deleted)"));
        mains += m->is_main;
    }
    assert_int_equal(mains, 1);
}

static void code_without_a_file_is_jit(void **state)
{
    (void)state;
    uint8_t *code =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(code, MAP_FAILED);
    assert_null(cu_module_at((uint64_t)(uintptr_t)code + 5)); /* asks for a look at the maps */
    for (int i = 0; i < 1500 && !cu_module_at((uint64_t)(uintptr_t)code + 5); i++) {
        usleep(20000); /* such looks are rationed by their cost, which a sanitizer makes high */
        assert_int_equal(cu_stacks_prepare(), 0);
    }
    const struct cu_module *m = cu_module_at((uint64_t)(uintptr_t)code + 5);
    assert_non_null(m);
    assert_string_equal(m->path, "[jit]");
    munmap(code, 4096);
    cu_modules_closing_sig();
    cu_modules_closed_sig();
    assert_null(cu_module_at((uint64_t)(uintptr_t)code + 5));
    assert_int_equal(cu_stacks_prepare(), 0);
    assert_null(cu_module_at((uint64_t)(uintptr_t)code + 5));
}

/* What may have been unloaded is not believed from another epoch; what cannot be is. */
static void epochs_are_respected(void **state)
{
    (void)state;
    uint32_t before = cu_modules_epoch_sig();
    cu_modules_closing_sig();
    assert_int_not_equal(cu_modules_epoch_sig(), before);
    cu_modules_closed_sig();
    cu_frame frames[1] = {address(outer)};
    cu_frames_resolve(frames, 1, before);
    assert_int_equal(COPPER_FRAME_MODULE(frames[0]), cu_module_main()->id);
    uint8_t *code =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(code, MAP_FAILED);
    assert_int_equal(cu_stacks_prepare(), 0); /* the epoch changed: a look is due */
    uint32_t now = cu_modules_epoch_sig();
    frames[0] = (uint64_t)(uintptr_t)code;
    cu_frames_resolve(frames, 1, before);
    assert_int_equal(COPPER_FRAME_MODULE(frames[0]), 0);
    cu_frames_resolve(frames, 1, now);
    assert_int_not_equal(COPPER_FRAME_MODULE(frames[0]), 0);
    munmap(code, 4096);
}

static void parked_registers_walk(void **state)
{
    (void)state;
    /* a made-up stack: frames are read only inside [lo, hi) */
    uint64_t stack[8] = {0};
    cu_frame frames[4];
    struct cu_walk w = {.regs = {.pc = address(outer), .sp = (uint64_t)(uintptr_t)stack},
                        .lo = (uint64_t)(uintptr_t)stack,
                        .hi = (uint64_t)(uintptr_t)stack,
                        .frames = frames,
                        .max = 4};
    cu_stack_walk_sig(&w);
    assert_int_equal(w.end, COPPER_WALK_BOUNDS);
    assert_int_equal(w.n, 1);
    w.n = 0;
    w.hi = (uint64_t)(uintptr_t)(stack + 8);
    cu_stack_walk_sig(&w); /* the return address is 0 */
    assert_int_equal(w.end, COPPER_WALK_BAD);
    assert_int_equal(w.n, 1);
    w.n = 0;
    w.max = 0;
    cu_stack_walk_sig(&w);
    assert_int_equal(w.end, COPPER_WALK_DEPTH);
    w.max = 4;
    w.regs.pc = 16;
    cu_stack_walk_sig(&w);
    assert_int_equal(w.end, COPPER_WALK_BAD);
    assert_int_equal(w.n, 0);
}

#ifndef IS_SANITIZED
void *__libc_malloc(size_t n);
void __libc_free(void *p);

static atomic_long bytes_left = LONG_MAX / 2;

__attribute__((visibility("default"))) void *malloc(size_t n)
{
    void *p = (long)n <= bytes_left ? __libc_malloc(n) : NULL;
    bytes_left -= (long)malloc_usable_size(p);
    return p;
}

__attribute__((visibility("default"))) void free(void *p)
{
    bytes_left += (long)malloc_usable_size(p);
    __libc_free(p);
}

__attribute__((visibility("default"))) void *mmap(void *at, size_t n, int prot, int flags, int fd,
                                                  off_t offset)
{
    if ((long)n > bytes_left) {
        return MAP_FAILED;
    }
    return (void *)syscall(SYS_mmap, at, n, prot, flags, fd, offset);
}

static void symbolize_with(long bytes)
{
    uint64_t libc = (uint64_t)(uintptr_t)&qsort;
    struct cu_symbolizer *s = cu_symbolizer_open();
    struct cu_symbol symbol;
    bytes_left = bytes;
    cu_symbolize(s, (cu_frame)cu_module_at(captured)->id << 48 | captured, &symbol);
    cu_symbolize(s, (cu_frame)cu_module_at(libc)->id << 48 | libc, &symbol);
    _exit(0);
}

/* libdw would end the process. */
static void memory_may_run_out(void **state)
{
    (void)state;
    outer();
    for (long bytes = 0; bytes < 64 << 20; bytes += 4096 + bytes / 4) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            symbolize_with(bytes);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        if (status != 0) {
            fail_msg("status 0x%x with %ld bytes", (unsigned)status, bytes);
        }
    }
}
#endif

static int prepare(void **state)
{
    (void)state;
    return cu_stacks_prepare();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inlined_calls_are_shown),
        cmocka_unit_test(libc_has_public_names),
        cmocka_unit_test(vdso_is_named),
        cmocka_unit_test(plt_stubs_are_named),
        cmocka_unit_test(nothing_is_named_beyond_its_symbol),
        cmocka_unit_test(modules_are_remembered),
        cmocka_unit_test(code_without_a_file_is_jit),
        cmocka_unit_test(epochs_are_respected),
        cmocka_unit_test(parked_registers_walk),
#ifndef IS_SANITIZED /* sanitizers end the process themselves */
        cmocka_unit_test(memory_may_run_out),
#endif
    };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
