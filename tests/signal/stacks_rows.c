/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the .eh_frame reader: every row of libc against elfutils, and corrupted bytes.
 *
 * The reader's files are compiled in, because what they share is not exported.
 */
#include "cfi.c"
#include "memory.c"
#include "table.c"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <link.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define CORRUPTIONS 3000

struct found {
    uint64_t base, limit, hdr, bias;
    char path[512];
};

static int find_libc(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct found *f = arg;
    (void)size;
    if (!strstr(info->dlpi_name, "libc.so"))
        return 0;
    snprintf(f->path, sizeof f->path, "%s", info->dlpi_name);
    f->base = f->bias = info->dlpi_addr;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type == PT_LOAD && f->limit < info->dlpi_addr + p->p_vaddr + p->p_memsz)
            f->limit = info->dlpi_addr + p->p_vaddr + p->p_memsz;
        if (p->p_type == PT_GNU_EH_FRAME)
            f->hdr = info->dlpi_addr + p->p_vaddr;
    }
    return 1;
}

static struct cu__cfi libc_cfi(struct found *f)
{
    memset(f, 0, sizeof *f);
    assert_int_equal(dl_iterate_phdr(find_libc, f), 1);
    return (struct cu__cfi){&cu__self_memory, f->base, f->limit, f->hdr};
}

/* ---- the judge ------------------------------------------------------------------------------- */

static bool same_cfa(const struct cu__rule *rule, Dwarf_Frame *frame)
{
    static const uint8_t dwarf_of[COPPER_REGS] = {7, 6, 3, 12, 13, 14, 15};
    Dwarf_Op *ops;
    size_t n;
    if (dwarf_frame_cfa(frame, &ops, &n) != 0 || n == 0)
        return false;
    if (rule->kind == COPPER_RULE_SIGNAL)
        return n == 2 && ops[0].atom == DW_OP_breg7 && ops[1].atom == DW_OP_deref;
    if (rule->kind == COPPER_RULE_PLT)
        return n > 2 && ops[0].atom == DW_OP_breg7 && (Dwarf_Sword)ops[0].number == rule->cfa_off;
    size_t want = rule->kind == COPPER_RULE_DEREF ? 2 : 1;
    uint64_t reg = ops[0].atom == DW_OP_bregx ? ops[0].number : (uint64_t)ops[0].atom - DW_OP_breg0;
    int64_t off = (int64_t)(ops[0].atom == DW_OP_bregx ? ops[0].number2 : ops[0].number);
    if (n != want || off != rule->cfa_off)
        return false;
    return rule->cfa_reg & COPPER_REG_IS_GREG
               ? greg_of_dwarf(reg) == (rule->cfa_reg & ~COPPER_REG_IS_GREG)
               : dwarf_of[rule->cfa_reg] == reg;
}

/* Is a register's rule what elfutils says? Undefined and the same value both read as "nothing
 * saved" */
static bool same_saved(int16_t saved, bool is_via_bp, Dwarf_Frame *frame, int reg)
{
    Dwarf_Op space[3], *ops;
    size_t n;
    if (dwarf_frame_register(frame, reg, space, &ops, &n) != 0)
        return false;
    if (n == 0)
        return !is_via_bp && (saved == COPPER_SAVED_SAME || saved == COPPER_SAVED_UNKNOWN);
    if (ops[n - 1].atom == DW_OP_stack_value)
        return saved == COPPER_SAVED_UNKNOWN;
    if (is_via_bp)
        return ops[0].atom == DW_OP_breg6 && (Dwarf_Sword)ops[0].number == saved * 8;
    int64_t off = n == 2 && ops[1].atom == DW_OP_plus_uconst ? (int64_t)ops[1].number : 0;
    return ops[0].atom == DW_OP_call_frame_cfa ? off == saved * 8 : saved == COPPER_SAVED_UNKNOWN;
}

static bool agrees(const struct cu__rule *rule, Dwarf_Frame *frame)
{
    static const int dwarf_of[COPPER_SAVED_REGS] = {6, 3, 12, 13, 14, 15};
    Dwarf_Op space[3], *ops;
    size_t n;
    bool is_signal;
    if (rule->kind == COPPER_RULE_ROOT) /* undefined: no operations, and not "same value" */
        return dwarf_frame_register(frame, 16, space, &ops, &n) == 0 && n == 0 && ops == space;
    if (dwarf_frame_info(frame, NULL, NULL, &is_signal) != 16 ||
        is_signal != (rule->kind == COPPER_RULE_SIGNAL) || !same_cfa(rule, frame))
        return false;
    if (rule->kind == COPPER_RULE_SIGNAL)
        return true;
    for (unsigned i = 0; i < COPPER_SAVED_REGS; i++)
        if (!same_saved(rule->saved[i], rule->via_bp >> i & 1, frame, dwarf_of[i]))
            return false;
    return (rule->kind == COPPER_RULE_CONTEXT && rule->extra) ||
           same_saved(rule->ra, false, frame, 16);
}

static void every_row_of_libc(void **state)
{
    (void)state;
    struct found f;
    int err;
    struct cu__cfi c = libc_cfi(&f);
    struct cu__table *t = cu__table_make(&c, &err);
    assert_non_null(t);
    int fd = open(f.path, O_RDONLY | O_CLOEXEC);
    elf_version(EV_CURRENT);
    Elf *elf = elf_begin(fd, ELF_C_READ, NULL);
    Dwarf_CFI *judge = dwarf_getcfi_elf(elf);
    assert_non_null(judge);
    unsigned long rows = 0, unsupported = 0, wrong = 0;
    for (uint32_t i = 0; i < t->nchunks; i++) {
        const struct cu__chunk *chunk = atomic_load(&t->chunks[i]);
        for (uint32_t k = 0; k < chunk->n; k++) {
            const struct cu__rule *rule = cu__rule_sig(chunk->rows[k].rule);
            Dwarf_Frame *frame = NULL;
            assert_true(k == 0 || chunk->rows[k - 1].at < chunk->rows[k].at);
            if (rule->kind == COPPER_RULE_NONE)
                continue;
            rows++;
            unsupported += rule->kind == COPPER_RULE_UNSUPPORTED;
            if (rule->kind == COPPER_RULE_UNSUPPORTED)
                continue;
            if (dwarf_cfi_addrframe(judge, chunk->rows[k].at, &frame) != 0 ||
                !agrees(rule, frame)) {
                if (wrong++ < 10)
                    print_message("row at %x, kind %d\n", chunk->rows[k].at, rule->kind);
            }
            free(frame);
        }
    }
    print_message("%lu rows agree with elfutils, %lu not supported\n", rows - wrong, unsupported);
    assert_int_equal(wrong, 0);
    assert_true(rows > 10000);
    assert_true(unsupported * 200 < rows);
    dwarf_cfi_end(judge);
    elf_end(elf);
    close(fd);
    cu__table_free(t);
}

/* ---- corrupted bytes ------------------------------------------------------------------------- */

struct buffer {
    uint64_t base;
    uint8_t *bytes;
    size_t n;
};

static size_t read_buffer(void *ctx, uint64_t at, void *out, size_t n)
{
    const struct buffer *b = ctx;
    if (at < b->base || at - b->base >= b->n)
        return 0;
    if (n > b->n - (at - b->base))
        n = b->n - (at - b->base);
    memcpy(out, b->bytes + (at - b->base), n);
    return n;
}

static void corrupt_bytes_are_survived(void **state)
{
    (void)state;
    struct found f;
    struct cu__cfi c = libc_cfi(&f);
    struct cu__cfi_index index;
    assert_true(cu__cfi_index(&c, &index));
    /* header and section only: the window that corruption is put into */
    uint64_t from = c.hdr & ~4095ull;
    struct buffer b = {from, NULL, (size_t)(c.limit - from)};
    uint8_t *good = malloc(b.n);
    b.bytes = malloc(b.n);
    assert_non_null(good);
    assert_non_null(b.bytes);
    b.n = cu__self_memory.read(NULL, from, good, b.n);
    assert_true(index.eh_frame - from + 4096 < b.n);
    struct cu__memory memory = {read_buffer, &b};
    c.memory = &memory;
    c.limit = from + b.n;
    srand(12345);
    unsigned tables = 0;
    for (int i = 0; i < CORRUPTIONS; i++) {
        int err;
        memcpy(b.bytes, good, b.n);
        /* few functions, so that many corruptions can be tried: the count is in the header */
        uint32_t few = 200;
        memcpy(b.bytes + (c.hdr - from) + 8, &few, 4);
        int changes = 1 + rand() % 40;
        for (int k = 0; k < changes; k++) {
            bool is_header = rand() % 8 == 0;
            size_t at = is_header ? c.hdr - from + (size_t)rand() % 1600
                                  : index.eh_frame - from + (size_t)rand() % 12000;
            b.bytes[at] = (uint8_t)rand();
        }
        struct cu__table *t = cu__table_make(&c, &err);
        assert_true(t || err < 0);
        for (int k = 0; t && k < 100; k++) {
            uint32_t rule = cu__table_find_sig(t, (uint32_t)rand());
            assert_true(rule == COPPER_RULE_MISSING || rule < nrules);
        }
        tables += t != NULL;
        cu__table_free(t);
    }
    print_message("%u of %d corrupted sections still gave tables\n", tables, CORRUPTIONS);
    assert_true(tables > 0);
    free(good);
    free(b.bytes);
}

static void truncated_sections_are_survived(void **state)
{
    (void)state;
    struct found f;
    struct cu__cfi c = libc_cfi(&f);
    uint64_t from = c.hdr & ~4095ull;
    struct buffer b = {from, NULL, (size_t)(c.limit - from)};
    b.bytes = malloc(b.n);
    assert_non_null(b.bytes);
    size_t all = cu__self_memory.read(NULL, from, b.bytes, b.n);
    struct cu__memory memory = {read_buffer, &b};
    c.memory = &memory;
    for (size_t n = 0; n < all; n += 1 + n / 20) {
        int err;
        b.n = n;
        struct cu__table *t = cu__table_make(&c, &err);
        assert_true(t || err < 0);
        cu__table_free(t);
    }
    free(b.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_of_libc),
        cmocka_unit_test(corrupt_bytes_are_survived),
        cmocka_unit_test(truncated_sections_are_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
