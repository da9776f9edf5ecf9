/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: read .eh_frame_hdr and .eh_frame: which rule finds the caller, for each range of pc.
 *
 * Design. Bytes come through struct cu__memory into two small windows (one for the function's
 * entry, one for its common part), never from the image itself. Every cursor is bounded; anything
 * malformed or not understood makes the one function unsupported and harms nothing else. The
 * interpreter knows what compilers and glibc's assembler emit; the remaining exotic expressions
 * become UNSUPPORTED rows, which are unwound by libunwind off the handler.
 *
 * Invariants. Rows of one function are given in rising order and end with a NONE row at its end.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define ENTRY_BYTES_MAX (64u << 10) /* one CIE or FDE; the longest seen is far below */
#define STATES_MAX      16          /* nested DW_CFA_remember_state */
#define DWARF_REGS      17
#define DWARF_BX        3
#define DWARF_BP        6
#define DWARF_SP        7
#define DWARF_RA        16
#define FDES_MAX        (1u << 22)

/* pointer encodings */
#define PE_OMIT     0xff
#define PE_FORMAT   0x0f
#define PE_BASE     0x70
#define PE_PCREL    0x10
#define PE_DATAREL  0x30
#define PE_INDIRECT 0x80

/* expression operations */
#define OP_DEREF 0x06
#define OP_AND   0x1a
#define OP_PLUS  0x22
#define OP_SHL   0x24
#define OP_GE    0x2a
#define OP_LIT0  0x30
#define OP_LIT31 0x4f
#define OP_BREG0 0x70

/* offset of the stack pointer in the kernel's signal frame, from the stack pointer in the handler's
 * return trampoline */
#define SIGNAL_FRAME_SP 160

struct cursor {
    const uint8_t *p, *end;
    uint64_t at; /* address of *p in the image: pc-relative pointers count from it */
    bool is_bad;
};

struct window {
    uint64_t at;
    size_t n;
    uint8_t bytes[ENTRY_BYTES_MAX + 16];
};

enum reg_rule_kind { REG_SAME, REG_UNDEFINED, REG_AT_CFA, REG_VIA_BP, REG_IN_REG, REG_OTHER };

struct reg_rule {
    enum reg_rule_kind kind;
    int64_t off;
};

struct state {
    struct reg_rule regs[DWARF_REGS];
    enum { CFA_REG, CFA_REG_DEREF, CFA_PLT, CFA_OTHER } cfa;
    uint64_t cfa_reg;
    int64_t cfa_off;
    uint8_t plt_from;
};

struct cie {
    uint64_t at;
    uint64_t code_align;
    int64_t data_align;
    uint8_t fde_encoding;
    bool has_augmentation, is_signal;
    struct state initial;
};

struct cu__cfi_reader {
    struct cu__cfi cfi;
    struct window fde_window, cie_window;
    struct cie cie;
    bool has_cie;
    struct state stack[STATES_MAX];
};

/* ---- cursors --------------------------------------------------------------------------------- */

static uint64_t take(struct cursor *c, size_t n)
{
    uint64_t v = 0;
    if (c->is_bad || (size_t)(c->end - c->p) < n) {
        c->is_bad = true;
        return 0;
    }
    memcpy(&v, c->p, n);
    c->p += n;
    c->at += n;
    return v;
}

static void skip(struct cursor *c, uint64_t n)
{
    if (c->is_bad || (uint64_t)(c->end - c->p) < n) {
        c->is_bad = true;
        return;
    }
    c->p += n;
    c->at += n;
}

static uint64_t take_uleb(struct cursor *c)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = (uint8_t)take(c, 1);
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return v;
    }
    c->is_bad = true;
    return 0;
}

static int64_t take_sleb(struct cursor *c)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64;) {
        uint8_t byte = (uint8_t)take(c, 1);
        v |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
        if (!(byte & 0x80)) {
            if (shift < 64 && (byte & 0x40))
                v |= ~0ull << shift;
            return (int64_t)v;
        }
    }
    c->is_bad = true;
    return 0;
}

static uint64_t take_value(struct cursor *c, uint8_t format)
{
    switch (format) {
    case 0x00: /* absptr */
    case 0x04: /* udata8 */
    case 0x0c: /* sdata8 */
        return take(c, 8);
    case 0x01:
        return take_uleb(c);
    case 0x02:
        return take(c, 2);
    case 0x03:
        return take(c, 4);
    case 0x09:
        return (uint64_t)take_sleb(c);
    case 0x0a:
        return (uint64_t)(int64_t)(int16_t)take(c, 2);
    case 0x0b:
        return (uint64_t)(int64_t)(int32_t)take(c, 4);
    default:
        c->is_bad = true;
        return 0;
    }
}

static uint64_t take_pointer(struct cursor *c, uint8_t encoding, uint64_t data_base)
{
    uint64_t here = c->at;
    uint64_t v = take_value(c, encoding & PE_FORMAT);
    switch (encoding & PE_BASE) {
    case 0:
        break;
    case PE_PCREL:
        v += here;
        break;
    case PE_DATAREL:
        v += data_base;
        break;
    default:
        c->is_bad = true;
    }
    if (encoding & PE_INDIRECT)
        c->is_bad = true; /* only personality routines are found that way */
    return v;
}

/* ---- windows and entries --------------------------------------------------------------------- */

/* n bytes at an address, or fewer: *got. They stay until the next call on this window. */
static const uint8_t *view(struct cu__cfi_reader *r, struct window *w, uint64_t at, size_t n,
                           size_t *got)
{
    *got = 0;
    if (at < r->cfi.base || at >= r->cfi.limit || n > ENTRY_BYTES_MAX)
        return NULL;
    if (n > r->cfi.limit - at)
        n = (size_t)(r->cfi.limit - at);
    if (at < w->at || at + n > w->at + w->n) {
        size_t want = ENTRY_BYTES_MAX;
        if (want > r->cfi.limit - at)
            want = (size_t)(r->cfi.limit - at);
        w->n = r->cfi.memory->read(r->cfi.memory->ctx, at, w->bytes, want);
        w->at = at;
    }
    if (w->n - (size_t)(at - w->at) < n)
        n = w->n - (size_t)(at - w->at);
    *got = n;
    return w->bytes + (at - w->at);
}

/* A cursor over the entry at this address, after its length. *id_at: address of the field that
 * tells CIE from FDE. false: the section's end, or nonsense. */
static bool open_entry(struct cu__cfi_reader *r, struct window *w, uint64_t at, struct cursor *c,
                       uint32_t *id, uint64_t *id_at)
{
    size_t got;
    const uint8_t *p = view(r, w, at, 8, &got);
    uint32_t length;
    if (!p || got < 8)
        return false;
    memcpy(&length, p, 4);
    if (length < 4 ||
        length > ENTRY_BYTES_MAX - 8) /* 0xffffffff: 64-bit form, never in .eh_frame */
        return false;
    p = view(r, w, at, 4 + (size_t)length, &got);
    if (!p || got < 4 + (size_t)length)
        return false;
    *c = (struct cursor){p + 4, p + 4 + length, at + 4, false};
    *id_at = c->at;
    *id = (uint32_t)take(c, 4);
    return !c->is_bad;
}

uint64_t cu__cfi_next(struct cu__cfi_reader *r, uint64_t entry, bool *is_fde)
{
    size_t got;
    uint32_t length, id;
    const uint8_t *p = view(r, &r->fde_window, entry, 8, &got);
    if (!p || got < 8)
        return 0;
    memcpy(&length, p, 4);
    memcpy(&id, p + 4, 4);
    if (length < 4 || length >= 0xfffffff0u)
        return 0;
    *is_fde = id != 0;
    return entry + 4 + length;
}

static void take_augmentation(struct cursor *c, const char *augmentation, struct cie *cie)
{
    if (*augmentation == '\0')
        return;
    if (*augmentation != 'z') {
        c->is_bad = true;
        return;
    }
    cie->has_augmentation = true;
    uint64_t n = take_uleb(c);
    if (c->is_bad || n > (uint64_t)(c->end - c->p)) {
        c->is_bad = true;
        return;
    }
    struct cursor data = {c->p, c->p + n, c->at, false};
    for (const char *a = augmentation + 1; *a && !data.is_bad; a++) {
        switch (*a) {
        case 'R':
            cie->fde_encoding = (uint8_t)take(&data, 1);
            break;
        case 'P': {
            uint8_t encoding = (uint8_t)take(&data, 1);
            if (encoding != PE_OMIT)
                take_value(&data, encoding & PE_FORMAT);
            break;
        }
        case 'L':
            skip(&data, 1);
            break;
        case 'S':
            cie->is_signal = true;
            break;
        case 'B': /* aarch64 */
        default:
            data.is_bad = true;
        }
    }
    c->is_bad |= data.is_bad;
    skip(c, n);
}

struct program {
    struct cu__cfi_reader *reader;
    const struct cie *cie;
    struct state *state;
    uint64_t pc, limit;
    cu__row_fn *row; /* NULL: initial instructions */
    void *ctx;
    bool is_stopped;
};
static void run_program(struct program *p, struct cursor *c);

static bool read_cie(struct cu__cfi_reader *r, uint64_t at)
{
    struct cursor c;
    uint32_t id;
    uint64_t id_at;
    if (r->has_cie && r->cie.at == at)
        return true;
    r->has_cie = false;
    if (!open_entry(r, &r->cie_window, at, &c, &id, &id_at) || id != 0)
        return false;
    struct cie *cie = &r->cie;
    memset(cie, 0, sizeof *cie);
    cie->at = at;
    uint8_t version = (uint8_t)take(&c, 1);
    if (version != 1 && version != 3)
        return false;
    const char *augmentation = (const char *)c.p;
    size_t n = strnlen(augmentation, (size_t)(c.end - c.p));
    skip(&c, n + 1);
    if (c.is_bad || n > 15)
        return false;
    cie->code_align = take_uleb(&c);
    cie->data_align = take_sleb(&c);
    uint64_t ra = version == 1 ? take(&c, 1) : take_uleb(&c);
    if (ra != DWARF_RA)
        return false;
    take_augmentation(&c, augmentation, cie);
    if (c.is_bad)
        return false;
    cie->initial.cfa = CFA_OTHER;
    struct program p = {r, cie, &cie->initial, 0, 0, NULL, NULL, false};
    run_program(&p, &c);
    if (c.is_bad)
        return false;
    r->has_cie = true;
    return true;
}

/* ---- from DWARF's state to a rule ------------------------------------------------------------ */

static int reg_of_dwarf(uint64_t dwarf)
{
    switch (dwarf) {
    case DWARF_SP:
        return COPPER_REG_SP;
    case DWARF_BP:
        return COPPER_REG_BP;
    case DWARF_BX:
        return COPPER_REG_BX;
    case 12:
    case 13:
    case 14:
    case 15:
        return COPPER_REG_R12 + (int)(dwarf - 12);
    default:
        return -1;
    }
}

/* Where a signal's context has a register that calls do not preserve. */
static int greg_of_dwarf(uint64_t dwarf)
{
    static const int8_t greg[DWARF_REGS] = {REG_RAX, REG_RDX, REG_RCX, -1,     REG_RSI, REG_RDI,
                                            -1,      -1,      REG_R8,  REG_R9, REG_R10, REG_R11,
                                            -1,      -1,      -1,      -1,     -1};
    return dwarf < DWARF_REGS ? greg[dwarf] : -1;
}

static bool eighths(int64_t off, int16_t *out)
{
    if (off % 8 != 0 || off / 8 <= INT16_MIN || off / 8 > INT16_MAX)
        return false;
    *out = (int16_t)(off / 8);
    return true;
}

static void rule_for_saved(struct cu__rule *rule, unsigned i, const struct reg_rule *from)
{
    int16_t at = COPPER_SAVED_UNKNOWN;
    switch (from->kind) {
    case REG_SAME:
        at = COPPER_SAVED_SAME;
        break;
    case REG_AT_CFA:
        /* the word at the CFA itself is the caller's: nothing is saved there, and 0 means "same" */
        if (!eighths(from->off, &at) || at == 0)
            at = COPPER_SAVED_UNKNOWN;
        break;
    case REG_VIA_BP:
        if (eighths(from->off, &at))
            rule->via_bp |= (uint8_t)(1u << i);
        else
            at = COPPER_SAVED_UNKNOWN;
        break;
    case REG_UNDEFINED:
    case REG_IN_REG:
    case REG_OTHER:
        break;
    }
    rule->saved[i] = at;
}

static bool cfa_of(const struct state *s, struct cu__rule *rule)
{
    int reg = reg_of_dwarf(s->cfa_reg), greg = greg_of_dwarf(s->cfa_reg);
    if (s->cfa_off < INT32_MIN || s->cfa_off > INT32_MAX)
        return false;
    if (reg < 0 && (greg < 0 || s->cfa != CFA_REG))
        return false;
    rule->cfa_reg = (uint8_t)(reg >= 0 ? reg : greg | COPPER_REG_IS_GREG);
    rule->cfa_off = (int32_t)s->cfa_off;
    switch (s->cfa) {
    case CFA_REG:
        rule->kind = reg >= 0 ? COPPER_RULE_CFA : COPPER_RULE_CONTEXT;
        return true;
    case CFA_REG_DEREF:
        rule->kind = COPPER_RULE_DEREF;
        return true;
    case CFA_PLT:
        rule->kind = COPPER_RULE_PLT;
        rule->extra = s->plt_from;
        return reg == COPPER_REG_SP;
    case CFA_OTHER:
        break;
    }
    return false;
}

/* Where the return address is. After cfa_of. */
static bool ra_of(const struct state *s, struct cu__rule *rule)
{
    const struct reg_rule *ra = &s->regs[DWARF_RA];
    if (ra->kind == REG_AT_CFA)
        return eighths(ra->off, &rule->ra);
    int greg = ra->kind == REG_IN_REG ? greg_of_dwarf((uint64_t)ra->off) : -1;
    if (greg < 0 || s->cfa != CFA_REG)
        return false;
    rule->kind = COPPER_RULE_CONTEXT;
    rule->extra = (uint8_t)(greg + 1);
    return true;
}

static void make_rule(const struct state *s, bool is_signal, struct cu__rule *rule)
{
    static const uint8_t saved[COPPER_SAVED_REGS] = {DWARF_BP, DWARF_BX, 12, 13, 14, 15};
    memset(rule, 0, sizeof *rule);
    if (s->regs[DWARF_RA].kind == REG_UNDEFINED) {
        rule->kind = COPPER_RULE_ROOT;
        return;
    }
    if (is_signal && s->cfa == CFA_REG_DEREF && s->cfa_reg == DWARF_SP &&
        s->cfa_off == SIGNAL_FRAME_SP) {
        rule->kind = COPPER_RULE_SIGNAL;
        return;
    }
    if (is_signal || s->regs[DWARF_SP].kind != REG_SAME || !cfa_of(s, rule) || !ra_of(s, rule)) {
        memset(rule, 0, sizeof *rule);
        rule->kind = COPPER_RULE_UNSUPPORTED;
        return;
    }
    for (unsigned i = 0; i < COPPER_SAVED_REGS; i++)
        rule_for_saved(rule, i, &s->regs[saved[i]]);
}

/* ---- the program ----------------------------------------------------------------------------- */

static void emit_row(struct program *p)
{
    struct cu__rule rule;
    make_rule(p->state, p->cie->is_signal, &rule);
    if (!p->row(p->ctx, p->pc, &rule))
        p->is_stopped = true;
}

static void advance(struct program *p, struct cursor *c, uint64_t delta)
{
    uint64_t step = delta * p->cie->code_align;
    if (!p->row || step > p->limit - p->pc) {
        c->is_bad = true;
        return;
    }
    if (step == 0)
        return;
    emit_row(p);
    p->pc += step;
}

/* breg N, and what follows it */
static bool take_breg(struct cursor *c, uint64_t *reg, int64_t *off)
{
    uint8_t op = (uint8_t)take(c, 1);
    if (op < OP_BREG0 || op > OP_BREG0 + 31)
        return false;
    *reg = op - OP_BREG0;
    *off = take_sleb(c);
    return !c->is_bad;
}

/* What linkers write for lazily bound PLT entries: breg7 8; breg16 0; lit15; and; litN; ge; lit3;
 * shl; plus. */
static bool take_plt(struct cursor *c, uint8_t *from)
{
    uint64_t reg;
    int64_t off;
    if (!take_breg(c, &reg, &off) || reg != DWARF_RA || off != 0)
        return false;
    if (take(c, 1) != OP_LIT0 + 15 || take(c, 1) != OP_AND)
        return false;
    uint8_t lit = (uint8_t)take(c, 1);
    if (lit < OP_LIT0 || lit > OP_LIT31)
        return false;
    *from = (uint8_t)(lit - OP_LIT0);
    return take(c, 1) == OP_GE && take(c, 1) == OP_LIT0 + 3 && take(c, 1) == OP_SHL &&
           take(c, 1) == OP_PLUS && c->p == c->end && !c->is_bad;
}

static struct cursor take_block(struct cursor *c)
{
    uint64_t n = take_uleb(c);
    struct cursor block = {c->p, c->p, c->at, c->is_bad};
    skip(c, n);
    if (c->is_bad)
        block.is_bad = true;
    else
        block.end = c->p;
    return block;
}

static void def_cfa_expression(struct state *s, struct cursor block)
{
    s->cfa = CFA_OTHER;
    if (!take_breg(&block, &s->cfa_reg, &s->cfa_off) || block.p == block.end)
        return;
    if (*block.p == OP_DEREF && block.p + 1 == block.end)
        s->cfa = CFA_REG_DEREF;
    else if (s->cfa_reg == DWARF_SP && take_plt(&block, &s->plt_from))
        s->cfa = CFA_PLT;
}

static void reg_expression(struct state *s, uint64_t reg, struct cursor block)
{
    uint64_t base;
    struct reg_rule rule = {REG_OTHER, 0};
    if (take_breg(&block, &base, &rule.off) && block.p == block.end && base == DWARF_BP)
        rule.kind = REG_VIA_BP;
    if (reg < DWARF_REGS)
        s->regs[reg] = rule;
}

static void set_reg(struct state *s, uint64_t reg, enum reg_rule_kind kind, int64_t off)
{
    if (reg < DWARF_REGS)
        s->regs[reg] = (struct reg_rule){kind, off};
}

static void restore_reg(struct program *p, uint64_t reg)
{
    if (reg < DWARF_REGS)
        p->state->regs[reg] = p->cie->initial.regs[reg];
}

/* offset times alignment; what overflows is nonsense and lands out of every range we accept */
static int64_t scaled(const struct program *p, uint64_t n)
{
    return (int64_t)(n * (uint64_t)p->cie->data_align);
}

static void def_cfa(struct state *s, uint64_t reg, int64_t off)
{
    s->cfa = CFA_REG;
    s->cfa_reg = reg;
    s->cfa_off = off;
}

/* Instructions about registers. false: not one of them. */
static bool run_register_op(struct program *p, struct cursor *c, uint8_t op)
{
    struct state *s = p->state;
    uint64_t reg;
    switch (op) {
    case 0x05: /* offset_extended */
        reg = take_uleb(c);
        set_reg(s, reg, REG_AT_CFA, scaled(p, take_uleb(c)));
        return true;
    case 0x06: /* restore_extended */
        restore_reg(p, take_uleb(c));
        return true;
    case 0x07: /* undefined */
        set_reg(s, take_uleb(c), REG_UNDEFINED, 0);
        return true;
    case 0x08: /* same_value */
        set_reg(s, take_uleb(c), REG_SAME, 0);
        return true;
    case 0x09: /* register */
        reg = take_uleb(c);
        set_reg(s, reg, REG_IN_REG, (int64_t)take_uleb(c));
        return true;
    case 0x14: /* val_offset */
        reg = take_uleb(c);
        take_uleb(c);
        set_reg(s, reg, REG_OTHER, 0);
        return true;
    case 0x15: /* val_offset_sf */
        reg = take_uleb(c);
        take_sleb(c);
        set_reg(s, reg, REG_OTHER, 0);
        return true;
    case 0x10: /* expression */
        reg = take_uleb(c);
        reg_expression(s, reg, take_block(c));
        return true;
    case 0x16: /* val_expression */
        reg = take_uleb(c);
        take_block(c);
        set_reg(s, reg, REG_OTHER, 0);
        return true;
    case 0x11: /* offset_extended_sf */
        reg = take_uleb(c);
        set_reg(s, reg, REG_AT_CFA, scaled(p, (uint64_t)take_sleb(c)));
        return true;
    default:
        return false;
    }
}

/* Instructions about the CFA and the rest. */
static void run_other_op(struct program *p, struct cursor *c, uint8_t op, unsigned *depth)
{
    struct state *s = p->state;
    uint64_t reg;
    switch (op) {
    case 0x00: /* nop */
        break;
    case 0x02: /* advance_loc1, 2, 4 */
        advance(p, c, take(c, 1));
        break;
    case 0x03:
        advance(p, c, take(c, 2));
        break;
    case 0x04:
        advance(p, c, take(c, 4));
        break;
    case 0x0a: /* remember_state */
        if (*depth == STATES_MAX)
            c->is_bad = true;
        else
            p->reader->stack[(*depth)++] = *s;
        break;
    case 0x0b: /* restore_state */
        if (*depth == 0)
            c->is_bad = true;
        else
            *s = p->reader->stack[--*depth];
        break;
    case 0x0c: /* def_cfa */
        reg = take_uleb(c);
        def_cfa(s, reg, (int64_t)take_uleb(c));
        break;
    case 0x0d: /* def_cfa_register */
        def_cfa(s, take_uleb(c), s->cfa_off);
        break;
    case 0x0e: /* def_cfa_offset */
        def_cfa(s, s->cfa_reg, (int64_t)take_uleb(c));
        break;
    case 0x0f: /* def_cfa_expression */
        def_cfa_expression(s, take_block(c));
        break;
    case 0x12: /* def_cfa_sf */
        reg = take_uleb(c);
        def_cfa(s, reg, scaled(p, (uint64_t)take_sleb(c)));
        break;
    case 0x13: /* def_cfa_offset_sf */
        def_cfa(s, s->cfa_reg, scaled(p, (uint64_t)take_sleb(c)));
        break;
    case 0x2e: /* GNU_args_size */
        take_uleb(c);
        break;
    default: /* set_loc and what other machines use */
        c->is_bad = true;
    }
}

static void run_program(struct program *p, struct cursor *c)
{
    unsigned depth = 0;
    while (c->p < c->end && !c->is_bad && !p->is_stopped) {
        uint8_t op = (uint8_t)take(c, 1);
        uint8_t low = op & 0x3f;
        switch (op >> 6) {
        case 1:
            advance(p, c, low);
            break;
        case 2:
            set_reg(p->state, low, REG_AT_CFA, scaled(p, take_uleb(c)));
            break;
        case 3:
            restore_reg(p, low);
            break;
        default:
            if (!run_register_op(p, c, op))
                run_other_op(p, c, op, &depth);
        }
    }
}

/* ---- functions ------------------------------------------------------------------------------- */

static bool open_fde(struct cu__cfi_reader *r, uint64_t fde, struct cursor *c, uint64_t *start,
                     uint64_t *limit)
{
    uint32_t id;
    uint64_t id_at;
    if (!open_entry(r, &r->fde_window, fde, c, &id, &id_at) || id == 0 || id > id_at)
        return false;
    if (!read_cie(r, id_at - id))
        return false;
    uint8_t encoding = r->cie.fde_encoding;
    *start = take_pointer(c, encoding, 0);
    uint64_t n = take_value(c, encoding & PE_FORMAT);
    *limit = *start + n;
    if (r->cie.has_augmentation)
        skip(c, take_uleb(c));
    return !c->is_bad && *start >= r->cfi.base && *limit > *start && *limit <= r->cfi.limit;
}

bool cu__cfi_fde_range(struct cu__cfi_reader *r, uint64_t fde, uint64_t *start, uint64_t *limit)
{
    struct cursor c;
    return open_fde(r, fde, &c, start, limit);
}

bool cu__cfi_fde_rows(struct cu__cfi_reader *r, uint64_t fde, cu__row_fn *row, void *ctx)
{
    struct cursor c;
    uint64_t start, limit;
    static const struct cu__rule none = {.kind = COPPER_RULE_NONE};
    static const struct cu__rule unsupported = {.kind = COPPER_RULE_UNSUPPORTED};
    if (!open_fde(r, fde, &c, &start, &limit))
        return false;
    struct state state = r->cie.initial;
    struct program p = {r, &r->cie, &state, start, limit, row, ctx, false};
    run_program(&p, &c);
    if (p.is_stopped)
        return false;
    if (c.is_bad) {
        /* what was given before the nonsense stands; the rest of the function is not trusted */
        if (p.pc < limit && !row(ctx, p.pc, &unsupported))
            return false;
    } else if (p.pc < limit) {
        emit_row(&p);
    }
    return !p.is_stopped && row(ctx, limit, &none) && !c.is_bad;
}

/* ---- the header ------------------------------------------------------------------------------ */

bool cu__cfi_index(const struct cu__cfi *c, struct cu__cfi_index *out)
{
    uint8_t bytes[32];
    memset(out, 0, sizeof *out);
    if (c->hdr < c->base || c->hdr >= c->limit)
        return false;
    size_t n = c->memory->read(c->memory->ctx, c->hdr, bytes, sizeof bytes);
    if (n < 8 || bytes[0] != 1)
        return false;
    struct cursor p = {bytes + 4, bytes + n, c->hdr + 4, false};
    out->eh_frame = take_pointer(&p, bytes[1], c->hdr);
    if (p.is_bad || out->eh_frame < c->base || out->eh_frame >= c->limit)
        return false;
    if (bytes[2] == PE_OMIT || bytes[3] != (PE_DATAREL | 0x0b))
        return true; /* no array that can be searched: the section is scanned */
    uint64_t count = take_value(&p, bytes[2] & PE_FORMAT);
    if (p.is_bad || count == 0 || count > FDES_MAX || count * 8 > c->limit - p.at)
        return true;
    out->array = p.at;
    out->nfdes = count;
    return true;
}

struct cu__cfi_reader *cu__cfi_open(const struct cu__cfi *c)
{
    struct cu__cfi_reader *r = malloc(sizeof *r);
    if (!r)
        return NULL;
    r->cfi = *c;
    r->fde_window.n = r->cie_window.n = 0;
    r->fde_window.at = r->cie_window.at = 0;
    r->has_cie = false;
    return r;
}

void cu__cfi_close(struct cu__cfi_reader *r)
{
    free(r);
}
