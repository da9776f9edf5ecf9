/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: walk a stack in a signal handler.
 *
 * Design. Two walkers. The quick one follows sp and bp only, which is enough for nearly all code,
 * and finds each pc's rule in a cache of packed words: one load, one comparison, the caller's
 * address. When it meets anything else (a signal frame, a realigned stack, another register, a pc
 * outside the cache that does not fit a packed word, the end), the full one redoes the walk with
 * all registers, so that what comes out is exact and whoever goes on has them.
 *
 * Invariants. Memory is read only inside [lo, hi), aligned, and sp grows with every frame except
 * where a signal changed stacks. The cache only holds pcs of images that can never be unloaded, so
 * its words never go stale.
 *
 * Concurrency. A cache entry is one 64-bit word: it says which pc it is for and what the rule is,
 * and any thread may overwrite it at any time.
 *
 * Signal safety: everything here. No lock, no allocation, no call but memcpy and what modules.c
 * needs.
 */
#include "internal.h"

#include <ucontext.h>

/* A packed word: tag of pc, then what to do.
 *     63            31 30      20 19       7 6    6 5       0
 *     [ pc >> 14     ] [ module ] [ CFA/8  ] [base] [ -bp/8 ]
 * 33 bits of tag with 14 bits of index are all 47 bits of a pc. */
#define CACHE_BITS   14
#define TAG_SHIFT    31
#define MODULE_SHIFT 20
#define MODULE_MAX   2047u
#define CFA_SHIFT    7
#define CFA_MAX      8191
#define BASE_BP      64u
#define BP_MASK      63u
#define CFA_ROOT     0u /* a CFA is never at the register itself in code that calls */

#define SIGNAL_REGS 40 /* offset of the saved registers in the kernel's ucontext */

static _Atomic uint64_t cache[1u << CACHE_BITS];

/* The same for the full walker: tag, module, and the rule's index in the low 20 bits. */
_Static_assert(COPPER_RULES_MAX == 1u << MODULE_SHIFT,
               "a rule's index fills what the module leaves");
static _Atomic uint64_t rule_cache[1u << CACHE_BITS];

static inline uint32_t cache_index_sig(uint64_t pc)
{
    /* one to one for pcs of one tag */
    return (uint32_t)(pc ^ (pc >> CACHE_BITS) * 5 ^ pc >> (2 * CACHE_BITS)) &
           ((1u << CACHE_BITS) - 1);
}

static inline bool is_plausible_sig(uint64_t pc)
{
    return pc >= COPPER_PC_MIN && pc < COPPER_PC_LIMIT;
}

static inline cu_frame frame_of_sig(uint64_t pc, uint32_t module)
{
    return (uint64_t)module << 48 | pc;
}

void cu_regs_from_context_sig(struct cu_regs *out, const void *context)
{
    const ucontext_t *uc = context;
    const greg_t *r = uc->uc_mcontext.gregs;
    *out = (struct cu_regs){(uint64_t)r[REG_RIP], (uint64_t)r[REG_RSP], (uint64_t)r[REG_RBP],
                            (uint64_t)r[REG_RBX], (uint64_t)r[REG_R12], (uint64_t)r[REG_R13],
                            (uint64_t)r[REG_R14], (uint64_t)r[REG_R15]};
}

/* What reads stacks reads between the objects that sanitizers know of. */
#define READS_STACKS __attribute__((no_sanitize("address"), no_sanitize("thread")))

/* ---- finding a rule -------------------------------------------------------------------------- */

static const struct cu__rule frame_pointer_rule = {
    .kind = COPPER_RULE_CFA, .cfa_reg = COPPER_REG_BP, .cfa_off = 16, .ra = -1, .saved = {-2}};

/* The rule at pc, by binary search. NULL: not known (yet). *module: whose pc it is, 0: not certain.
 */
static __attribute__((noinline)) const struct cu__rule *search_rule_sig(uint64_t pc,
                                                                        const struct cu__stack *s,
                                                                        uint32_t *module)
{
    const struct cu__module *m = cu__module_find_sig(pc, s->epoch, s->is_live);
    *module = m ? m->public.id : 0;
    if (!m)
        return NULL;
    if (atomic_load_explicit(&m->image->has_no_cfi, memory_order_acquire))
        return &frame_pointer_rule;
    const struct cu__table *t = atomic_load_explicit(&m->image->table, memory_order_acquire);
    if (!t)
        return NULL;
    uint32_t rule = cu__table_find_sig(t, (uint32_t)(pc - m->image->base));
    if (rule == COPPER_RULE_MISSING)
        return NULL;
    if (m->public.id <= MODULE_MAX &&
        atomic_load_explicit(&m->image->is_permanent, memory_order_relaxed))
        atomic_store_explicit(&rule_cache[cache_index_sig(pc)],
                              pc >> CACHE_BITS << TAG_SHIFT |
                                  (uint64_t)m->public.id << MODULE_SHIFT | rule,
                              memory_order_release);
    return cu__rule_sig(rule);
}

static inline const struct cu__rule *find_rule_sig(uint64_t pc, const struct cu__stack *s,
                                                   uint32_t *module)
{
    /* pairs with the store above: whoever sees the word sees the rule it names */
    uint64_t word = atomic_load_explicit(&rule_cache[cache_index_sig(pc)], memory_order_acquire);
    if (word >> TAG_SHIFT != pc >> CACHE_BITS)
        return search_rule_sig(pc, s, module);
    *module = (uint32_t)(word >> MODULE_SHIFT) & MODULE_MAX;
    return cu__rule_sig(word & (COPPER_RULES_MAX - 1));
}

/* What a PLT rule means at this very pc. */
static int64_t plt_offset_sig(const struct cu__rule *rule, uint64_t pc)
{
    return rule->cfa_off + ((pc & 15) >= rule->extra ? 8 : 0);
}

/* The rule as a packed word. 0: it does not fit. */
static uint64_t pack_sig(uint64_t pc, uint32_t module, const struct cu__rule *rule)
{
    uint64_t word = pc >> CACHE_BITS << TAG_SHIFT | (uint64_t)module << MODULE_SHIFT;
    if (rule->kind == COPPER_RULE_ROOT)
        return word | CFA_ROOT << CFA_SHIFT;
    int64_t off = rule->kind == COPPER_RULE_PLT ? plt_offset_sig(rule, pc) : rule->cfa_off;
    if ((rule->kind != COPPER_RULE_CFA && rule->kind != COPPER_RULE_PLT) ||
        rule->cfa_reg > COPPER_REG_BP || rule->ra != -1 || off <= 0 || off % 8 != 0 ||
        off / 8 > CFA_MAX || (rule->via_bp & 1) || rule->saved[0] > 0 ||
        rule->saved[0] < -(int)BP_MASK)
        return 0;
    word |= (uint64_t)(off / 8) << CFA_SHIFT | (uint64_t)-rule->saved[0];
    return rule->cfa_reg == COPPER_REG_BP ? word | BASE_BP : word;
}

/* The packed word for pc, made if need be. 0: only the full walker can do it. */
static __attribute__((noinline)) uint64_t fill_cache_sig(uint64_t pc, const struct cu__stack *s)
{
    uint32_t module;
    const struct cu__rule *rule = find_rule_sig(pc, s, &module);
    /* only what the other cache accepted is of an image that stays */
    uint64_t found = atomic_load_explicit(&rule_cache[cache_index_sig(pc)], memory_order_relaxed);
    if (!rule || found >> TAG_SHIFT != pc >> CACHE_BITS)
        return 0;
    uint64_t word = pack_sig(pc, module, rule);
    if (word)
        atomic_store_explicit(&cache[cache_index_sig(pc)], word, memory_order_relaxed);
    return word;
}

/* ---- the quick walker ------------------------------------------------------------------------ */

/* Fills frames as long as everything is ordinary. true: it came to the root or to the last frame
 * there is room for; false: the full walker must redo it. */
READS_STACKS static bool walk_quick_sig(struct cu_walk *w, const struct cu__stack *s)
{
    uint64_t sp = w->regs.sp, bp = w->regs.bp, pc = w->regs.pc;
    const uint64_t lo = s->lo, hi = s->hi;
    unsigned n = w->n;
    const unsigned max = w->max;
    cu_frame *frames = w->frames;
    uint64_t key = pc - w->is_call_site;
    if (sp < lo || (sp & 7))
        return false;
    while (n < max) {
        if (!is_plausible_sig(key))
            return false;
        uint64_t word = atomic_load_explicit(&cache[cache_index_sig(key)], memory_order_relaxed);
        if (word >> TAG_SHIFT != key >> CACHE_BITS) {
            word = fill_cache_sig(key, s);
            if (!word)
                return false;
        }
        frames[n++] = frame_of_sig(key, (uint32_t)(word >> MODULE_SHIFT) & MODULE_MAX);
        uint64_t cfa_off = (word >> CFA_SHIFT & CFA_MAX) * 8;
        if (cfa_off == CFA_ROOT) {
            w->n = n;
            w->end = COPPER_WALK_ROOT;
            return true;
        }
        uint64_t cfa = (word & BASE_BP ? bp : sp) + cfa_off;
        if (cfa <= sp || cfa > hi || (cfa & 7))
            return false;
        uint64_t bp_off = (word & BP_MASK) * 8;
        pc = *(const uint64_t *)(cfa - 8);
        if (bp_off) {
            if (cfa - bp_off < sp)
                return false;
            bp = *(const uint64_t *)(cfa - bp_off);
        }
        sp = cfa;
        key = pc - 1;
    }
    w->n = n;
    w->end = COPPER_WALK_DEPTH;
    return true;
}

/* ---- memos ----------------------------------------------------------------------------------- */

/* Why a memo that holds is certain: the rule at each pc is known, and for images that stay it never
 * changes. The first pc is the same, so where its caller's address lies is the same place, counted
 * from sp or from bp; the word there is the same, so the second pc is; and so on. Where a rule
 * counts from bp, the word that bp was restored from is one of those that must be the same. */

READS_STACKS static bool note_word_sig(struct cu_walk_memo *memo, const struct cu_walk *w,
                                       uint64_t at, bool is_relative)
{
    uint64_t sp = w->regs.sp, word = *(const uint64_t *)at, place = (at - sp) / 8;
    if (memo->n == COPPER_WALK_MEMO_MAX || place > UINT16_MAX)
        return false;
    uint16_t i = memo->n++;
    if (!is_relative) { /* before those: the first of them makes room */
        memo->at[i] = memo->at[memo->absolute];
        memo->words[i] = memo->words[memo->absolute];
        i = memo->absolute++;
    }
    memo->at[i] = (uint16_t)place;
    memo->words[i] = is_relative ? word - sp : word;
    memo->top = (uint16_t)place > memo->top ? (uint16_t)place : memo->top;
    return true;
}

/* Where bp comes from now: a place in the stack, 0: the register. */
static bool note_bp_sig(struct cu_walk_memo *memo, const struct cu_walk *w, uint64_t bp_at)
{
    if (bp_at)
        return note_word_sig(memo, w, bp_at, true);
    memo->needs_bp = true;
    return true;
}

READS_STACKS bool cu_walk_memo_fill_sig(struct cu_walk_memo *memo, const struct cu_walk *w)
{
    uint64_t sp = w->regs.sp, bp = w->regs.bp, key = w->regs.pc - w->is_call_site, bp_at = 0;
    *memo = (struct cu_walk_memo){.bp = bp - sp, .is_call_site = w->is_call_site};
    if (sp < w->lo || (sp & 7))
        return false;
    for (;;) {
        uint64_t word = atomic_load_explicit(&cache[cache_index_sig(key)], memory_order_relaxed);
        if (word >> TAG_SHIFT != key >> CACHE_BITS)
            return false;
        uint64_t cfa_off = (word >> CFA_SHIFT & CFA_MAX) * 8, bp_off = (word & BP_MASK) * 8;
        if (cfa_off == CFA_ROOT)
            break;
        if ((word & BASE_BP) && !note_bp_sig(memo, w, bp_at))
            return false;
        uint64_t cfa = (word & BASE_BP ? bp : sp) + cfa_off;
        if (cfa <= sp || cfa > w->hi || (cfa & 7) || (bp_off && cfa - bp_off < sp) ||
            !note_word_sig(memo, w, cfa - 8, false))
            return false;
        if (bp_off) {
            bp_at = cfa - bp_off;
            bp = *(const uint64_t *)bp_at;
        }
        key = *(const uint64_t *)(cfa - 8) - 1;
        sp = cfa;
    }
    memo->pc = w->regs.pc;
    return true;
}

READS_STACKS bool cu_walk_memo_holds_sig(const struct cu_walk_memo *memo, const struct cu_walk *w)
{
    const uint64_t sp = w->regs.sp;
    if (memo->pc != w->regs.pc || memo->pc == 0 || memo->is_call_site != w->is_call_site ||
        (memo->needs_bp && memo->bp != w->regs.bp - sp) || sp < w->lo || sp > w->hi || (sp & 7))
        return false;
    if (memo->n && memo->top >= (w->hi - sp) / 8)
        return false;
    const uint64_t *stack = (const uint64_t *)sp;
    for (uint32_t i = 0; i < memo->absolute; i++)
        if (stack[memo->at[i]] != memo->words[i])
            return false;
    for (uint32_t i = memo->absolute; i < memo->n; i++)
        if (stack[memo->at[i]] - sp != memo->words[i])
            return false;
    return true;
}

/* ---- the full walker ------------------------------------------------------------------------- */

struct full {
    uint64_t pc;
    uint64_t reg[COPPER_REGS];
    bool is_call_site;
    /* all registers of this frame, in a handler's context; NULL: not known */
    const greg_t *context;
};

static void load_full_sig(struct full *f, const struct cu_walk *w)
{
    const struct cu_regs *r = &w->regs;
    const ucontext_t *uc = w->context;
    *f = (struct full){r->pc,
                       {r->sp, r->bp, r->bx, r->r12, r->r13, r->r14, r->r15},
                       w->is_call_site,
                       uc ? uc->uc_mcontext.gregs : NULL};
}

static void store_full_sig(const struct full *f, struct cu_walk *w)
{
    w->regs = (struct cu_regs){f->pc,     f->reg[0], f->reg[1], f->reg[2],
                               f->reg[3], f->reg[4], f->reg[5], f->reg[6]};
    w->is_call_site = f->is_call_site;
}

READS_STACKS static bool read_stack_sig(const struct cu__stack *s, uint64_t at, uint64_t *out)
{
    if ((at & 7) || at < s->lo || at >= s->hi || s->hi - at < 8)
        return false;
    *out = *(const uint64_t *)(uintptr_t)(at + s->delta);
    return true;
}

/* The frame that a signal interrupted. */
static enum cu_walk_end step_signal_sig(struct full *f, const struct cu__stack *s)
{
    static const uint8_t at[COPPER_REGS] = {REG_RSP, REG_RBP, REG_RBX, REG_R12,
                                            REG_R13, REG_R14, REG_R15};
    struct full to = *f;
    uint64_t base = f->reg[COPPER_REG_SP] + SIGNAL_REGS;
    for (unsigned i = 0; i < COPPER_REGS; i++)
        if (!read_stack_sig(s, base + 8ull * at[i], &to.reg[i]))
            return COPPER_WALK_BOUNDS;
    if (!read_stack_sig(s, base + 8ull * REG_RIP, &to.pc))
        return COPPER_WALK_BOUNDS;
    to.is_call_site = false;
    /* all of it is inside the bounds, as its last word (rip) and its first (r8) are */
    to.context =
        (base & 7) == 0 && base >= s->lo ? (const greg_t *)(uintptr_t)(base + s->delta) : NULL;
    *f = to;
    return COPPER_WALK_DEPTH;
}

static bool find_cfa_sig(const struct full *f, const struct cu__rule *rule,
                         const struct cu__stack *s, uint64_t *cfa)
{
    if (rule->kind == COPPER_RULE_PLT) {
        *cfa = f->reg[COPPER_REG_SP] + (uint64_t)plt_offset_sig(rule, f->pc - f->is_call_site);
        return true;
    }
    uint64_t base = rule->cfa_reg & COPPER_REG_IS_GREG
                        ? (uint64_t)f->context[rule->cfa_reg & ~COPPER_REG_IS_GREG]
                        : f->reg[rule->cfa_reg];
    *cfa = base + (uint64_t)(int64_t)rule->cfa_off;
    return rule->kind != COPPER_RULE_DEREF || read_stack_sig(s, *cfa, cfa);
}

static bool find_return_sig(const struct full *f, const struct cu__rule *rule,
                            const struct cu__stack *s, uint64_t cfa, uint64_t *pc)
{
    if (rule->kind == COPPER_RULE_CONTEXT && rule->extra) {
        *pc = (uint64_t)f->context[rule->extra - 1];
        return true;
    }
    return read_stack_sig(s, cfa + 8 * (uint64_t)(int64_t)rule->ra, pc);
}

/* To the caller. DEPTH stands for "fine, go on". */
static enum cu_walk_end step_sig(struct full *f, const struct cu__rule *rule,
                                 const struct cu__stack *s)
{
    if (rule->kind == COPPER_RULE_SIGNAL)
        return step_signal_sig(f, s);
    struct full to = *f;
    uint64_t cfa;
    if (!find_cfa_sig(f, rule, s, &cfa))
        return COPPER_WALK_BOUNDS;
    /* a return address that was popped into a register is the one case of a frame without bytes; it
     * cannot repeat, because it needs a context */
    bool is_empty = rule->kind == COPPER_RULE_CONTEXT && rule->extra;
    if (cfa < f->reg[COPPER_REG_SP] + !is_empty || (cfa & 7))
        return COPPER_WALK_BAD;
    if (cfa > s->hi || !find_return_sig(f, rule, s, cfa, &to.pc))
        return COPPER_WALK_BOUNDS;
    for (unsigned i = 0; i < COPPER_SAVED_REGS; i++) {
        int16_t saved = rule->saved[i];
        bool is_via_bp = rule->via_bp >> i & 1;
        if (saved == COPPER_SAVED_UNKNOWN) {
            to.reg[i + 1] = 0;
        } else if (saved != COPPER_SAVED_SAME || is_via_bp) {
            uint64_t base = is_via_bp ? f->reg[COPPER_REG_BP] : cfa;
            /* only a frame that is found by this register would miss it */
            if (!read_stack_sig(s, base + 8 * (uint64_t)(int64_t)saved, &to.reg[i + 1]))
                to.reg[i + 1] = 0;
        }
    }
    to.reg[COPPER_REG_SP] = cfa;
    /* what is in a register is where an exception handler is jumped to, not what follows a call */
    to.is_call_site = !is_empty;
    to.context = NULL;
    *f = to;
    return COPPER_WALK_DEPTH;
}

/* How a walk ends at a rule that leads nowhere. DEPTH: it leads on. */
static enum cu_walk_end end_of_rule_sig(const struct cu__rule *rule, const struct full *f)
{
    if (!rule || rule->kind == COPPER_RULE_UNSUPPORTED ||
        (rule->kind == COPPER_RULE_CONTEXT && !f->context))
        return COPPER_WALK_MISS;
    if (rule->kind == COPPER_RULE_NONE)
        return COPPER_WALK_BAD;
    return rule->kind == COPPER_RULE_ROOT ? COPPER_WALK_ROOT : COPPER_WALK_DEPTH;
}

void cu__walk_full_sig(struct cu_walk *w, const struct cu__stack *s, bool is_first_known)
{
    struct full f;
    load_full_sig(&f, w);
    enum cu_walk_end end = COPPER_WALK_DEPTH;
    /* the frame was found by its frame pointer: it must lead somewhere known */
    bool is_guess = false;
    while (w->n < w->max || is_first_known) {
        uint64_t key = f.pc - f.is_call_site;
        uint32_t module;
        if (!is_plausible_sig(key)) {
            end = COPPER_WALK_BAD;
            break;
        }
        const struct cu__rule *rule = find_rule_sig(key, s, &module);
        if (!module && (is_guess || (key >= s->lo && key < s->hi))) {
            end = COPPER_WALK_BAD; /* a guess that leads nowhere, or "code" on the stack */
            break;
        }
        is_guess = rule == &frame_pointer_rule;
        /* the kernel's return address points at the trampoline's first byte */
        bool is_trampoline = rule && rule->kind == COPPER_RULE_SIGNAL;
        if (!is_first_known)
            w->frames[w->n++] = frame_of_sig(is_trampoline ? f.pc : key, module);
        is_first_known = false;
        store_full_sig(&f, w);
        end = end_of_rule_sig(rule, &f);
        if (end != COPPER_WALK_DEPTH)
            break;
        if (f.reg[COPPER_REG_SP] < s->lo || f.reg[COPPER_REG_SP] >= s->hi) {
            end = COPPER_WALK_BOUNDS;
            break;
        }
        end = step_sig(&f, rule, s);
        if (end != COPPER_WALK_DEPTH)
            break;
    }
    w->end = end;
}

void cu_stack_walk_sig(struct cu_walk *w)
{
    struct cu__stack s = {w->lo, w->hi, 0, cu_modules_epoch_sig(), true};
    if (!walk_quick_sig(w, &s))
        cu__walk_full_sig(w, &s, false);
}
