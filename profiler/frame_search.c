/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: find the frame of a function that keeps it by rbp; see frame_search.h.
 */
#include "frame_search.h"

#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define COPPER_SEARCH_BYTES 65536 /* frames beyond this size are not searched */
#define COPPER_CALL_MAX     7     /* bytes of the longest call instruction looked for */
#define COPPER_PROLOGUE     40    /* bytes of a function in which its prologue is looked for */

/* Reads code through the kernel, since the module may be gone. */
static bool read_code(uint64_t at, void *out, size_t n)
{
    struct iovec to = {out, n};
    struct iovec from = {(void *)(uintptr_t)at, n};
    return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == (ssize_t)n;
}

#if defined(__x86_64__)

/* Is the instruction that ends right before `at` a call of the function [start, pc]? */
static bool calls(uint64_t at, uint64_t start, uint64_t pc, bool allow_indirect)
{
    unsigned char code[COPPER_CALL_MAX];
    if (!read_code(at - sizeof(code), code, sizeof(code))) {
        return false;
    }
    const unsigned char *end = code + sizeof(code);
    if (end[-5] == 0xe8) {
        int32_t distance;
        memcpy(&distance, end - 4, sizeof(distance));
        if (at + (uint64_t)(int64_t)distance == start) {
            return true;
        }
        if (allow_indirect && cu_module_at(at - 1) != cu_module_at(pc)) {
            return true; /* between modules the call goes through a stub of the caller's */
        }
    }
    /* ff /2 through a register or memory, with 0, 1 or 4 bytes of offset and perhaps a scale byte
     */
    for (size_t length = 2; allow_indirect && length <= sizeof(code); length++) {
        if (end[-(ptrdiff_t)length] == 0xff && (end[1 - (ptrdiff_t)length] >> 3 & 7) == 2) {
            return true;
        }
    }
    return false;
}

/* How far above sp rbp points in a function that begins like this. -1: it does not keep rbp so. */
static int64_t frame_size(uint64_t start)
{
    unsigned char code[COPPER_PROLOGUE];
    static const unsigned char endbr[] = {0xf3, 0x0f, 0x1e, 0xfa},
                               keep[] = {0x55, 0x48, 0x89, 0xe5};
    if (!read_code(start, code, sizeof(code))) {
        return -1;
    }
    const unsigned char *at = code;
    at += memcmp(at, endbr, sizeof(endbr)) == 0 ? sizeof(endbr) : 0;
    if (memcmp(at, keep, sizeof(keep)) != 0) {
        return -1;
    }
    at += sizeof(keep);
    int64_t size = 0;
    while (at < code + sizeof(code) - 8) { /* registers that are pushed on */
        size_t prefix = *at == 0x41 ? 1 : 0;
        if (at[prefix] < 0x50 || at[prefix] > 0x57) {
            break;
        }
        at += prefix + 1;
        size += 8;
    }
    if (at[0] == 0x48 && at[1] == 0x83 && at[2] == 0xec) {
        size += at[3];
    } else if (at[0] == 0x48 && at[1] == 0x81 && at[2] == 0xec) {
        int32_t room;
        memcpy(&room, at + 3, sizeof(room));
        size += room;
    }
    return size;
}

#else

static bool calls(uint64_t at, uint64_t start, uint64_t pc, bool allow_indirect)
{
    (void)at;
    (void)start;
    (void)pc;
    (void)allow_indirect;
    return false;
}

static int64_t frame_size(uint64_t start)
{
    (void)start;
    return -1;
}

#endif

static uint64_t word_at(const char *copy, uint64_t copy_at, uint64_t address)
{
    uint64_t word;
    memcpy(&word, copy + (address - copy_at), sizeof(word));
    return word;
}

struct search {
    const char *copy;
    uint64_t copy_at;
    size_t n;
    uint32_t epoch;
    uint64_t start; /* of the function whose frame is looked for */
};

/* Completes the walk if rbp was `at`. */
static bool try_rbp(struct cu_walk *w, const struct search *s, uint64_t at, bool allow_indirect)
{
    if (at < w->regs.sp || at > s->copy_at + s->n - 16) {
        return false;
    }
    uint64_t return_address = word_at(s->copy, s->copy_at, at + 8);
    if (!cu_module_at(return_address - 1) ||
        !calls(return_address, s->start, w->regs.pc, allow_indirect)) {
        return false;
    }
    struct cu_walk next = *w;
    next.regs.bp = at;
    next.end = COPPER_WALK_MISS;
    cu_stack_walk_copy(&next, s->copy, s->copy_at, s->n, s->epoch);
    if (next.end != COPPER_WALK_ROOT) {
        return false;
    }
    *w = next;
    return true;
}

bool cu__frame_search(struct cu_walk *w, struct cu_symbolizer *symbols, const void *copy,
                      uint64_t copy_at, size_t n, uint32_t epoch)
{
    if ((w->end != COPPER_WALK_BOUNDS && w->end != COPPER_WALK_BAD) || w->n == 0 || n < 16 ||
        COPPER_FRAME_PC(w->frames[w->n - 1]) != w->regs.pc - w->is_call_site) {
        return false; /* or the last frame is not the one that could not be left */
    }
    struct cu_symbol symbol;
    cu_symbolize(symbols, w->frames[w->n - 1], &symbol);
    struct search s = {copy, copy_at, n, epoch, symbol.start};
    int64_t size = symbol.start ? frame_size(symbol.start) : -1;
    if (size < 0) {
        return false;
    }
    if (try_rbp(w, &s, w->regs.sp + (uint64_t)size, true)) {
        return true;
    }
    for (uint64_t up = 0; up < COPPER_SEARCH_BYTES; up += 8) {
        if (try_rbp(w, &s, w->regs.sp + up, false)) {
            return true;
        }
    }
    return false;
}
