/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see trace_names.h.
 *
 * A pc stands for one function and line in a generation, so frames of inlined functions need pcs of
 * their own: address * 8 + depth of inlining.
 */
#include "trace_names.h"

#include "runtime_weak.h"
#include "shared_symbolizer.h"
#include "trace_record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COPPER_INLINE_BITS 3u
#define COPPER_INLINE_MAX  8u

enum name_kind { NAME_STACK, NAME_SITE, NAME_COROUTINE };

/* What is interned: three words, then frames. */
enum { WORD_KIND, WORD_ENTRY, WORD_SITE = WORD_ENTRY, WORD_CUT, WORD_G = WORD_CUT, WORD_FRAMES };

static bool grow(void **array, uint32_t *cap, uint32_t wanted, size_t size)
{
    if (wanted <= *cap) {
        return true;
    }
    uint32_t larger = *cap ? *cap * 2 : 1024;
    while (larger < wanted) {
        larger *= 2;
    }
    char *grown = realloc(*array, larger * size);
    if (!grown) {
        return false;
    }
    memset(grown + *cap * size, 0, (larger - *cap) * size);
    *array = grown;
    *cap = larger;
    return true;
}

static uint32_t intern(struct cu__names *names, const uint64_t *words, unsigned n)
{
    uint32_t number = cu__intern(&names->stacks, words, n * sizeof(*words));
    if (number == COPPER_INTERN_NONE ||
        !grow((void **)&names->facts, &names->facts_cap, number + 1, sizeof(*names->facts))) {
        names->is_failed = true;
        return COPPER_INTERN_NONE;
    }
    return number;
}

uint32_t cu__names_stack(struct cu__names *names, const cu_frame *frames, unsigned n, bool is_cut)
{
    uint64_t words[WORD_FRAMES + COPPER_STACK_DEPTH_MAX] = {NAME_STACK, 0, is_cut};
    memcpy(words + WORD_FRAMES, frames, n * sizeof(*frames));
    return intern(names, words, WORD_FRAMES + n);
}

static uint32_t module_of(uint64_t address)
{
    const struct cu_module *m = address ? cu_module_at(address) : NULL;
    return m ? m->id : 0;
}

/* A function of the runtime that no user calls. */
static bool is_inner(struct cu__names *names, cu_frame frame)
{
    if (COPPER_FRAME_MODULE(frame) != names->runtime_module) {
        return false;
    }
    struct cu_symbol symbol;
    cu_symbolize(names->symbolizer, frame, &symbol);
    return strncmp(symbol.lines[symbol.nlines - 1].function, "cu__", 4) == 0;
}

static void open_symbols(struct cu__names *names)
{
    if (!names->symbolizer) {
        names->symbolizer = cu__symbolizer_borrow();
        names->own_module = module_of((uint64_t)(uintptr_t)&cu__names_write);
        names->runtime_module = module_of((uint64_t)(uintptr_t)&cu_inspect_each);
    }
    names->is_failed |= names->symbolizer == NULL;
}

/* Does a stack have a frame that is not of the runtime's inside or of the hooks? */
static bool has_user_frame(struct cu__names *names, const uint64_t *words, size_t n)
{
    for (size_t i = WORD_FRAMES; i < n; i++) {
        if (COPPER_FRAME_MODULE(words[i]) != names->own_module && !is_inner(names, words[i])) {
            return true;
        }
    }
    return false;
}

uint32_t cu__names_of_new(struct cu__names *names, uint32_t stack, uint64_t entry)
{
    size_t bytes = 0;
    const uint64_t *words = cu__interned(&names->stacks, stack, &bytes);
    if (!words || entry == 0) {
        return stack;
    }
    struct cu__name *fact = &names->facts[stack];
    if (!fact->is_looked) {
        open_symbols(names);
        if (names->is_failed) {
            return stack;
        }
        fact->lacks_entry = words[WORD_CUT] || !has_user_frame(names, words, bytes / 8);
        fact->is_looked = true;
    }
    if (!fact->lacks_entry) {
        return stack;
    }
    uint64_t copy[WORD_FRAMES + COPPER_STACK_DEPTH_MAX];
    memcpy(copy, words, bytes);
    copy[WORD_ENTRY] = entry;
    return intern(names, copy, (unsigned)(bytes / 8));
}

uint32_t cu__names_birth(struct cu__names *names, const struct cu_site *site, int64_t g)
{
    uint64_t words[WORD_FRAMES] = {NAME_SITE, (uint64_t)(uintptr_t)site, 0};
    uint32_t number = site ? intern(names, words, WORD_FRAMES) : COPPER_INTERN_NONE;
    if (number != COPPER_INTERN_NONE && !names->facts[number].is_mixed) {
        return number;
    }
    words[WORD_KIND] = NAME_COROUTINE;
    words[WORD_G] = (uint64_t)g;
    return intern(names, words, WORD_FRAMES);
}

void cu__names_born(struct cu__names *names, uint32_t birth, uint64_t entry)
{
    if (birth < names->stacks.nitems) {
        struct cu__name *fact = &names->facts[birth];
        fact->is_mixed |= fact->entry != 0 && fact->entry != entry;
        fact->entry = fact->entry ? fact->entry : entry;
    }
}

uint64_t cu__names_id_new(struct cu__names *names, uint32_t number)
{
    if (number >= names->stacks.nitems) {
        return 0;
    }
    struct cu__name *fact = &names->facts[number];
    if (fact->id == 0) {
        if (!grow((void **)&names->used, &names->used_cap, names->nused + 1,
                  sizeof(*names->used))) {
            names->is_failed = true;
            return 0;
        }
        names->used[names->nused] = number;
        fact->id = ++names->nused;
    }
    return fact->id;
}

uint32_t cu__names_move(struct cu__names *names, const struct cu__names *from, uint32_t number)
{
    size_t bytes = 0;
    const uint64_t *words = cu__interned(&from->stacks, number, &bytes);
    return words ? intern(names, words, (unsigned)(bytes / 8)) : COPPER_INTERN_NONE;
}

/* ---- naming ---------------------------------------------------------------------------------- */

/* Frames in the making. */
struct written {
    struct cu__wire *wire;
    unsigned char bytes[COPPER_WIRE_FRAMES_MAX * 40];
    size_t n;
    unsigned frames;
};

static void put_line(struct written *out, uint64_t pc, const struct cu_symbol_line *line)
{
    if (out->frames == COPPER_WIRE_FRAMES_MAX) {
        return;
    }
    const char *file = line->file ? line->file : "";
    out->frames++;
    out->n += cu__varint(out->bytes + out->n, pc);
    out->n += cu__varint(out->bytes + out->n,
                         cu__wire_string(out->wire, line->function, strlen(line->function)));
    out->n += cu__varint(out->bytes + out->n, cu__wire_string(out->wire, file, strlen(file)));
    out->n += cu__varint(out->bytes + out->n, line->line);
}

static void put_frame(struct cu__names *names, struct written *out, cu_frame frame)
{
    struct cu_symbol symbol;
    cu_symbolize(names->symbolizer, frame, &symbol);
    size_t n = symbol.nlines < COPPER_INLINE_MAX ? symbol.nlines : COPPER_INLINE_MAX;
    for (size_t i = 0; i < n; i++) {
        put_line(out, COPPER_FRAME_PC(frame) << COPPER_INLINE_BITS | (n - 1 - i), &symbol.lines[i]);
    }
}

static void put_function(struct cu__names *names, struct written *out, uint64_t entry)
{
    const struct cu_module *m = cu_module_at(entry);
    put_frame(names, out, (uint64_t)(m ? m->id : 0) << 48 | entry);
}

static void put_stack(struct cu__names *names, struct written *out, const uint64_t *words,
                      size_t nwords)
{
    const cu_frame *frames = words + WORD_FRAMES;
    size_t first = 0, n = nwords - WORD_FRAMES;
    while (first < n && COPPER_FRAME_MODULE(frames[first]) == names->own_module) {
        first++;
    }
    size_t ours = first;
    while (first < n && is_inner(names, frames[first])) {
        first++;
    }
    if (first == n && words[WORD_ENTRY] == 0) {
        first = ours;
    }
    while (n > first + 1 && is_inner(names, frames[n - 1])) {
        n--;
    }
    unsigned most = COPPER_WIRE_FRAMES_MAX - COPPER_INLINE_MAX;
    for (size_t i = first; i < n && out->frames < most; i++) {
        put_frame(names, out, frames[i]);
    }
    if (words[WORD_ENTRY]) {
        put_function(names, out, words[WORD_ENTRY]);
    }
}

/* A coroutine that did not run in this generation is called by where it was spawned. */
static void put_birth(struct cu__names *names, struct written *out, uint32_t number,
                      const uint64_t *words)
{
    const struct cu_site *site = (const void *)(uintptr_t)words[WORD_SITE];
    uint64_t entry = names->facts[number].entry;
    if (entry) {
        put_function(names, out, entry);
    } else if (site) {
        char text[COPPER_WIRE_TEXT_MAX];
        snprintf(text, sizeof(text), "spawned by %s", site->function);
        struct cu_symbol_line line = {.function = text, .file = site->file, .line = site->line};
        put_line(out, (uint64_t)(uintptr_t)site << COPPER_INLINE_BITS, &line);
    }
}

static void write_one(struct cu__names *names, struct written *out, struct cu__wire_batch *b,
                      uint32_t number, int64_t now_ns)
{
    size_t bytes = 0;
    const uint64_t *words = cu__interned(&names->stacks, number, &bytes);
    out->n = 0;
    out->frames = 0;
    if (words[WORD_KIND] == NAME_STACK) {
        put_stack(names, out, words, bytes / 8);
    } else {
        put_birth(names, out, number, words);
    }
    unsigned char entry[sizeof(out->bytes) + 32] = {COPPER_WIRE_STACK};
    size_t n = 1;
    n += cu__varint(entry + n, names->facts[number].id);
    n += cu__varint(entry + n, out->frames);
    memcpy(entry + n, out->bytes, out->n);
    cu__wire_entry(out->wire, b, COPPER_WIRE_STACKS, now_ns, entry, n + out->n);
}

void cu__names_write(struct cu__names *names, struct cu__wire *w, struct cu__wire_batch *b,
                     int64_t now_ns)
{
    open_symbols(names);
    struct written *out = malloc(sizeof(*out));
    names->is_failed |= out == NULL;
    for (uint32_t i = 0; i < names->nused; i++) {
        if (!names->is_failed) {
            out->wire = w;
            write_one(names, out, b, names->used[i], now_ns);
        }
        names->facts[names->used[i]].id = 0;
    }
    names->nused = 0;
    cu__wire_flush(w, b);
    free(out);
}

void cu__names_clear(struct cu__names *names)
{
    cu__interner_clear(&names->stacks);
    free(names->facts);
    free(names->used);
    cu__symbolizer_return(names->symbolizer);
    *names = (struct cu__names){.nused = 0};
}
