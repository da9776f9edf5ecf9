/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: unwind tables: sorted rows of 8 bytes, made from .eh_frame, found by binary search.
 *
 * Design. An image's functions, sorted by address, are cut into chunks of COPPER_FDES_PER_CHUNK.
 * A chunk's rows are made in one go; images of ordinary size get all of them at once, huge ones get
 * those that walks ask for. A row is an offset and the index of a rule; rules are interned for the
 * whole process, which is a few thousand of them, in blocks that never move.
 *
 * Concurrency. Making is under the prepare lock. Finding takes no lock: a chunk and a block of
 * rules are complete before a release store makes them visible, and are never freed after.
 *
 * Signal safety: the two _sig functions.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RULE_BLOCKS    (COPPER_RULES_MAX / COPPER_RULES_PER_BLOCK)
#define CHUNK_ROWS_MAX (1u << 20)
#define ARRAY_READ     1024u /* entries of the search array read at once */

_Atomic uint32_t cu__chunks_wanted;

static _Atomic(struct cu__rule *) rule_blocks[RULE_BLOCKS];
static uint32_t nrules;      /* lock: prepare */
static uint32_t *rule_slots; /* lock: prepare; open addressing, index + 1 */
static uint32_t nrule_slots;
static _Atomic uint64_t total_rows, total_bytes;

/* ---- finding --------------------------------------------------------------------------------- */

const struct cu__rule *cu__rule_sig(uint32_t index)
{
    /* pairs with the release store in add_rule, through the chunk that names the index */
    struct cu__rule *block =
        atomic_load_explicit(&rule_blocks[index / COPPER_RULES_PER_BLOCK], memory_order_relaxed);
    return &block[index % COPPER_RULES_PER_BLOCK];
}

/* Last chunk that starts at or before; the first for anything below it. */
uint32_t cu__table_chunk_of_sig(const struct cu__table *t, uint32_t at)
{
    uint32_t lo = 0, n = t->nchunks;
    while (n > 1) {
        uint32_t half = n / 2;
        lo += t->starts[lo + half] <= at ? half : 0;
        n -= half;
    }
    return lo;
}

uint32_t cu__table_find_sig(const struct cu__table *t, uint32_t at)
{
    uint32_t lo = cu__table_chunk_of_sig(t, at);
    /* pairs with the release store in cu__table_fill */
    const struct cu__chunk *chunk = atomic_load_explicit(&t->chunks[lo], memory_order_acquire);
    if (!chunk) {
        atomic_store_explicit(&t->wanted[lo], 1, memory_order_relaxed);
        atomic_store_explicit(&cu__chunks_wanted, 1, memory_order_relaxed);
        return COPPER_RULE_MISSING;
    }
    const struct cu__row *row = chunk->rows;
    for (uint32_t n = chunk->n; n > 1;) {
        uint32_t half = n / 2;
        row += row[half].at <= at ? half : 0;
        n -= half;
    }
    return at < row->at ? 0 : row->rule; /* rule 0 is NONE */
}

/* ---- rules ----------------------------------------------------------------------------------- */

static uint64_t hash_rule(const struct cu__rule *rule)
{
    uint64_t words[sizeof *rule / 8], h = 0;
    _Static_assert(sizeof *rule == 24, "hashed as three words, no padding");
    memcpy(words, rule, sizeof words);
    for (size_t i = 0; i < sizeof words / 8; i++)
        h = (h ^ words[i]) * 0x9e3779b97f4a7c15ull, h ^= h >> 29;
    return h;
}

static bool grow_slots(void)
{
    uint32_t n = nrule_slots ? nrule_slots * 2 : 4096;
    uint32_t *slots = calloc(n, sizeof *slots);
    if (!slots)
        return false;
    for (uint32_t i = 0; i < nrules; i++) {
        uint32_t at = (uint32_t)hash_rule(cu__rule_sig(i)) & (n - 1);
        while (slots[at])
            at = (at + 1) & (n - 1);
        slots[at] = i + 1;
    }
    free(rule_slots);
    rule_slots = slots;
    nrule_slots = n;
    return true;
}

static bool add_rule(const struct cu__rule *rule, uint32_t slot)
{
    uint32_t b = nrules / COPPER_RULES_PER_BLOCK;
    if (nrules == COPPER_RULES_MAX)
        return false;
    struct cu__rule *block = atomic_load_explicit(&rule_blocks[b], memory_order_relaxed);
    if (!block) {
        block = calloc(COPPER_RULES_PER_BLOCK, sizeof *block);
        if (!block)
            return false;
        atomic_store_explicit(&rule_blocks[b], block, memory_order_release);
        atomic_fetch_add_explicit(&total_bytes, COPPER_RULES_PER_BLOCK * sizeof *block,
                                  memory_order_relaxed);
    }
    block[nrules % COPPER_RULES_PER_BLOCK] = *rule;
    rule_slots[slot] = ++nrules;
    return true;
}

/* Index of an equal rule. At a limit, or out of memory: a rule that stops walks. */
uint32_t cu__rule_intern(const struct cu__rule *rule)
{
    static const struct cu__rule first[2] = {{.kind = COPPER_RULE_NONE},
                                             {.kind = COPPER_RULE_UNSUPPORTED}};
    if (nrules * 2 >= nrule_slots && !grow_slots())
        return UINT32_MAX;
    if (nrules == 0) {
        for (int i = 0; i < 2; i++) {
            uint32_t at = (uint32_t)hash_rule(&first[i]) & (nrule_slots - 1);
            while (rule_slots[at])
                at = (at + 1) & (nrule_slots - 1);
            if (!add_rule(&first[i], at))
                return UINT32_MAX;
        }
    }
    uint32_t at = (uint32_t)hash_rule(rule) & (nrule_slots - 1);
    for (; rule_slots[at]; at = (at + 1) & (nrule_slots - 1))
        if (memcmp(cu__rule_sig(rule_slots[at] - 1), rule, sizeof *rule) == 0)
            return rule_slots[at] - 1;
    return add_rule(rule, at) ? nrules - 1 : 1;
}

/* ---- making chunks --------------------------------------------------------------------------- */

struct builder {
    uint64_t base;
    struct cu__row *rows;
    uint32_t n, cap;
    bool is_out_of_memory;
};

static bool append_row(struct builder *b, uint32_t at, uint32_t rule)
{
    if (b->n && b->rows[b->n - 1].at == at)
        b->n--; /* the end of one function is the start of the next */
    if (b->n && b->rows[b->n - 1].rule == rule)
        return true;
    if (b->n == b->cap) {
        uint32_t cap = b->cap ? b->cap * 2 : 4096;
        struct cu__row *rows = cap <= CHUNK_ROWS_MAX ? realloc(b->rows, cap * sizeof *rows) : NULL;
        if (!rows) {
            b->is_out_of_memory = true;
            return false;
        }
        b->rows = rows;
        b->cap = cap;
    }
    b->rows[b->n++] = (struct cu__row){at, rule};
    return true;
}

static bool take_row(void *ctx, uint64_t pc, const struct cu__rule *rule)
{
    struct builder *b = ctx;
    uint64_t at = pc - b->base;
    uint32_t index = cu__rule_intern(rule);
    if (index == UINT32_MAX) {
        b->is_out_of_memory = true;
        return false;
    }
    if (at > UINT32_MAX)
        return false;
    if (b->n && at < b->rows[b->n - 1].at)
        return true; /* overlapping functions: the first one keeps its range */
    return append_row(b, (uint32_t)at, index);
}

/* Functions [first, first + n) of the table, sorted. false: unreadable. */
static bool read_refs(const struct cu__table *t, const struct cu__cfi *c, uint32_t first,
                      uint32_t n, struct cu__fde_ref *out)
{
    if (t->fdes) {
        memcpy(out, t->fdes + first, n * sizeof *out);
        return true;
    }
    if (!cu__read_exactly(c->memory, c->base + t->fde_array + 8ull * first, out, n * sizeof *out))
        return false;
    /* both fields count from the header: make them count from the base (they are signed) */
    for (uint32_t i = 0; i < n; i++) {
        out[i].at = (uint32_t)(out[i].at + t->hdr);
        out[i].fde = (uint32_t)(out[i].fde + t->hdr);
    }
    return true;
}

static int make_chunk(struct cu__table *t, const struct cu__cfi *c, struct cu__cfi_reader *reader,
                      uint32_t chunk)
{
    struct cu__fde_ref refs[COPPER_FDES_PER_CHUNK];
    struct builder b = {.base = c->base};
    uint32_t first = chunk * COPPER_FDES_PER_CHUNK;
    uint32_t n =
        t->nfdes - first < COPPER_FDES_PER_CHUNK ? t->nfdes - first : COPPER_FDES_PER_CHUNK;
    static const struct cu__rule none = {.kind = COPPER_RULE_NONE};
    if (cu__rule_intern(&none) != 0)
        return -ENOMEM;
    if (!read_refs(t, c, first, n, refs))
        return -EFAULT;
    for (uint32_t i = 0; i < n && !b.is_out_of_memory; i++)
        cu__cfi_fde_rows(reader, c->base + refs[i].fde, take_row, &b);
    if (b.n == 0)
        append_row(&b, t->starts[chunk], 0);
    size_t bytes = sizeof(struct cu__chunk) + b.n * sizeof(struct cu__row);
    struct cu__chunk *made = NULL;
    if (!b.is_out_of_memory && atomic_load(&total_bytes) + bytes <= COPPER_TABLE_BYTES_MAX)
        made = malloc(bytes);
    if (made) {
        made->n = b.n;
        memcpy(made->rows, b.rows, b.n * sizeof *b.rows);
        atomic_fetch_add_explicit(&total_rows, b.n, memory_order_relaxed);
        atomic_fetch_add_explicit(&total_bytes, bytes, memory_order_relaxed);
        atomic_store_explicit(&t->chunks[chunk], made, memory_order_release);
    }
    free(b.rows);
    return made ? 0 : -ENOMEM;
}

bool cu__table_fill(struct cu__table *t, const struct cu__cfi *c, uint32_t chunk)
{
    if (atomic_load_explicit(&t->chunks[chunk], memory_order_acquire))
        return true;
    struct cu__cfi_reader *reader = cu__cfi_open(c);
    if (!reader)
        return false;
    bool is_made = make_chunk(t, c, reader, chunk) == 0;
    cu__cfi_close(reader);
    return is_made;
}

/* ---- making tables --------------------------------------------------------------------------- */

static int compare_refs(const void *a, const void *b)
{
    uint32_t x = ((const struct cu__fde_ref *)a)->at, y = ((const struct cu__fde_ref *)b)->at;
    return (x > y) - (x < y);
}

/* Images whose header has no array: look at every entry of the section. */
static int scan_fdes(struct cu__table *t, const struct cu__cfi *c, struct cu__cfi_reader *reader,
                     uint64_t entry)
{
    uint32_t cap = 0;
    bool is_fde = false;
    for (uint64_t next; (next = cu__cfi_next(reader, entry, &is_fde)) != 0; entry = next) {
        uint64_t start, limit;
        if (!is_fde || !cu__cfi_fde_range(reader, entry, &start, &limit))
            continue;
        if (t->nfdes == cap) {
            cap = cap ? cap * 2 : 256;
            struct cu__fde_ref *more = realloc(t->fdes, cap * sizeof *more);
            if (!more)
                return -ENOMEM;
            t->fdes = more;
        }
        t->fdes[t->nfdes++] =
            (struct cu__fde_ref){(uint32_t)(start - c->base), (uint32_t)(entry - c->base)};
    }
    if (t->nfdes)
        qsort(t->fdes, t->nfdes, sizeof *t->fdes, compare_refs);
    return 0;
}

static int cut_into_chunks(struct cu__table *t, const struct cu__cfi *c)
{
    t->nchunks = (t->nfdes + COPPER_FDES_PER_CHUNK - 1) / COPPER_FDES_PER_CHUNK;
    t->starts = calloc(t->nchunks, sizeof *t->starts);
    t->chunks = calloc(t->nchunks, sizeof *t->chunks);
    t->wanted = calloc(t->nchunks, sizeof *t->wanted);
    if (!t->starts || !t->chunks || !t->wanted)
        return -ENOMEM;
    for (uint32_t i = 0; i < t->nchunks; i++) {
        struct cu__fde_ref ref;
        if (!read_refs(t, c, i * COPPER_FDES_PER_CHUNK, 1, &ref))
            return -EFAULT;
        if (i && ref.at < t->starts[i - 1])
            return -EINVAL; /* not sorted: nothing could be found in it */
        t->starts[i] = ref.at;
    }
    return 0;
}

static int fill_table(struct cu__table *t, const struct cu__cfi *c)
{
    struct cu__cfi_index index;
    if (c->limit - c->base > UINT32_MAX || !cu__cfi_index(c, &index))
        return -ENOENT;
    struct cu__cfi_reader *reader = cu__cfi_open(c);
    if (!reader)
        return -ENOMEM;
    int err = 0;
    t->hdr = c->hdr - c->base;
    if (index.array) {
        t->fde_array = index.array - c->base;
        t->nfdes = (uint32_t)index.nfdes;
    } else {
        err = scan_fdes(t, c, reader, index.eh_frame);
    }
    if (!err)
        err = t->nfdes ? cut_into_chunks(t, c) : -ENOENT;
    for (uint32_t i = 0; !err && t->nfdes <= COPPER_FDES_EAGER_MAX && i < t->nchunks; i++)
        err = make_chunk(t, c, reader, i);
    cu__cfi_close(reader);
    return err;
}

struct cu__table *cu__table_make(const struct cu__cfi *c, int *err)
{
    struct cu__table *t = calloc(1, sizeof *t);
    *err = t ? fill_table(t, c) : -ENOMEM;
    if (*err) {
        cu__table_free(t);
        return NULL;
    }
    atomic_fetch_add_explicit(&total_bytes,
                              t->nchunks * (sizeof *t->starts + sizeof *t->chunks + 1),
                              memory_order_relaxed);
    return t;
}

void cu__table_free(struct cu__table *t)
{
    if (!t)
        return;
    for (uint32_t i = 0; t->chunks && i < t->nchunks; i++) {
        struct cu__chunk *chunk = atomic_load_explicit(&t->chunks[i], memory_order_relaxed);
        if (!chunk)
            continue;
        atomic_fetch_sub_explicit(&total_rows, chunk->n, memory_order_relaxed);
        atomic_fetch_sub_explicit(&total_bytes, sizeof *chunk + chunk->n * sizeof *chunk->rows,
                                  memory_order_relaxed);
        free(chunk);
    }
    free(t->fdes);
    free(t->starts);
    free(t->chunks);
    free((void *)t->wanted);
    free(t);
}

void cu__table_stats(uint64_t *rows, uint64_t *bytes)
{
    *rows = atomic_load_explicit(&total_rows, memory_order_relaxed);
    *bytes = atomic_load_explicit(&total_bytes, memory_order_relaxed);
}
