/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/stacks.h: walk stacks from any context, name what was found.
 *
 * Purpose. Two halves. The *walker* (functions ending in _sig) runs in signal handlers and on
 * scheduler paths: no lock, no allocation, no libunwind, reads only inside stack bounds that its
 * caller vouches for. It finds the caller of each pc in tables that were prepared beforehand from
 * the modules' .eh_frame. The *other half* runs on ordinary threads: it prepares those tables,
 * unwinds copied stacks with libunwind where no table was ready, follows modules that come and go,
 * and symbolizes.
 *
 * Frames are 64-bit words: the module's id (16 bits, never reused, 0: no module known at the time)
 * over a 48-bit pc. The pc is pprof's Location.address: the interrupted instruction itself for the
 * leaf (and where a signal interrupted), return address - 1 for callers. Leaf first.
 *
 * This library knows neither coroutines nor profiles.
 */
#ifndef COPPER_STACKS_H
#define COPPER_STACKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define COPPER_STACK_DEPTH_MAX 512 /* frames in one stack */

typedef uint64_t cu_frame;
#define COPPER_FRAME_PC(frame)     ((uint64_t)(frame)&0xffffffffffffu)
#define COPPER_FRAME_MODULE(frame) ((uint32_t)((uint64_t)(frame) >> 48))

/* Registers that unwinding needs. Same order as struct cu_saved_regs of copper/inspect.h. */
struct cu_regs {
    uint64_t pc, sp, bp, bx, r12, r13, r14, r15;
};

enum cu_walk_end {
    COPPER_WALK_ROOT,   /* the unwind information says: outermost frame. A complete stack */
    COPPER_WALK_MISS,   /* no table for regs.pc yet: finish off a copy, see cu_stack_walk_copy */
    COPPER_WALK_DEPTH,  /* frames[] is full */
    COPPER_WALK_BOUNDS, /* the next frame would be read outside [lo, hi) */
    COPPER_WALK_BAD,    /* contradiction: sp did not grow, or garbage pc */
};

/* A walk appends the frame of regs first, then its callers. When it ended in MISS, BOUNDS or BAD,
 * regs and is_call_site describe the last frame appended, whose caller could not be found: to go on
 * with wider bounds, take that frame back (n - 1) and walk again. After ROOT and DEPTH they mean
 * nothing. */
struct cu_walk {
    struct cu_regs regs;  /* in: where to start. out: see above */
    uint64_t lo, hi;      /* in: memory that may be read, [lo, hi) */
    bool is_call_site;    /* in/out: regs.pc is a return address (parked), not an interrupted pc */
    const void *context;  /* in: the ucontext that regs came from, or NULL. A few instructions of a
                             few functions can only be left with other registers' help */
    cu_frame *frames;     /* in: filled leaf first, appended at n */
    unsigned n, max;      /* in/out, in */
    enum cu_walk_end end; /* out */
};

/* ---- signal-safe half ---------------------------------------------------------------------- */

/* Registers of the interrupted code. context: third argument of an SA_SIGINFO handler. */
void cu_regs_from_context_sig(struct cu_regs *out, const void *context);

/* Walks. Async-signal-safe; about 2 to 8 ns a frame with warm tables. */
void cu_stack_walk_sig(struct cu_walk *w);

/* What a walk found its way by: for who walks the same stacks again and again, and needs not the
 * frames but that they are the same. It may be kept for as long as the process lives. */
#define COPPER_WALK_MEMO_MAX 24 /* words; deeper stacks have no memo */
struct cu_walk_memo {
    uint64_t pc;       /* where it began; 0: this is none */
    uint64_t bp;       /* less sp; where the way depends on it */
    uint16_t n;        /* words of the stack that lead the way */
    uint16_t absolute; /* so many first; the others are addresses in the stack, kept less sp */
    uint16_t top;      /* where the last of them is */
    bool needs_bp, is_call_site;
    uint16_t at[COPPER_WALK_MEMO_MAX]; /* where, from sp on, in words */
    uint64_t words[COPPER_WALK_MEMO_MAX];
};
/* Fills memo for a walk that would begin as w says and end in ROOT. False: not for this stack. w is
 * left as it is. Async-signal-safe, as the next. */
bool cu_walk_memo_fill_sig(struct cu_walk_memo *memo, const struct cu_walk *w);
/* Would a walk that begins as w says find the same frames? True is certain. About 1 ns a frame. */
bool cu_walk_memo_holds_sig(const struct cu_walk_memo *memo, const struct cu_walk *w);

/* A number that changes whenever a module may have gone. Records carry it. */
uint32_t cu_modules_epoch_sig(void);

/* The mapping [lo, hi) that holds address, by the kernel: what a walk of a stack of unknown origin
 * may read as long as that stack is in use. False: none, or /proc is not there. System calls only:
 * a microsecond or two, up to a millisecond where the kernel has no PROCMAP_QUERY (before
 * Linux 6.11). Changes errno. */
bool cu_mapping_at_sig(uint64_t address, uint64_t *lo, uint64_t *hi);

/* ---- ordinary half ------------------------------------------------------------------------- */

/* Finds new and vanished modules and prepares tables. Call before sampling starts and whenever
 * walks end in MISS. Serialised inside; a few microseconds when nothing changed. Not from signal
 * handlers. 0, or -ENOMEM (then what is prepared stays usable). */
int cu_stacks_prepare(void);

/* To be called around every dlclose, by whoever wraps it: closing before, closed after. Both only
 * bump the epoch and are safe anywhere. */
void cu_modules_closing_sig(void);
void cu_modules_closed_sig(void);

/* Goes on with a walk that ended in MISS, over a copy of the stack bytes [copy_at, copy_at + n) as
 * they were then. Uses prepared tables where there are any by now, libunwind elsewhere. epoch: what
 * the record carried; frames of modules that went since become module 0. Not from handlers. */
void cu_stack_walk_copy(struct cu_walk *w, const void *copy, uint64_t copy_at, size_t n,
                        uint32_t epoch);

/* Gives module-0 frames of a record their module, if that is certain for this epoch. */
void cu_frames_resolve(cu_frame *frames, unsigned n, uint32_t epoch);

struct cu_module {
    uint32_t id;
    uint64_t start, limit, offset; /* the executable mapping; limit exclusive */
    const char *path;              /* as pprof wants it: no " (deleted)"; "[vdso]", "[jit]" */
    const char *build_id;          /* lower-case hex, "" when none */
    bool is_main;                  /* the main executable */
};
/* By id; id 0 and unknown ids: NULL. Valid for ever (modules are remembered). */
const struct cu_module *cu_module_by_id(uint32_t id);
const struct cu_module *cu_module_main(void);
/* The module that has this address now; NULL: none. */
const struct cu_module *cu_module_at(uint64_t pc);

/* Symbols. A symbolizer keeps files open and results cached; its strings live until it is closed.
 * Many threads may use one at once. Several may exist, but each reads debug information anew: some
 * 20 MB for libc's. Never touches the network. */
struct cu_symbolizer;
struct cu_symbolizer *cu_symbolizer_open(void); /* NULL: out of memory */
void cu_symbolizer_close(struct cu_symbolizer *s);
/* Whether it remembers so much (COPPER_SYMBOLS_MAX frames, or many files that are loaded no more)
 * that a new one should take its place. */
#define COPPER_SYMBOLS_MAX 65536u
bool cu_symbolizer_is_outgrown(struct cu_symbolizer *s);
size_t cu_symbolizer_size(struct cu_symbolizer *s); /* frames that it remembers */

struct cu_symbol_line {
    const char *function; /* linkage name (mangled for C++), never NULL */
    const char *file;     /* absolute if the compiler knew it; NULL: unknown */
    uint32_t line;        /* 0: unknown */
    uint32_t start_line;  /* of the function, 0: unknown */
};
struct cu_symbol {
    const struct cu_symbol_line *lines; /* innermost inlined function first, at least one */
    size_t nlines;
    uint64_t start; /* address of the physical function's first byte, 0: unknown */
    bool is_named;  /* false: lines[0].function is "module+0xoffset" */
};
/* Never fails: where no symbol covers the pc the name is "module+0xoffset". */
void cu_symbolize(struct cu_symbolizer *s, cu_frame frame, struct cu_symbol *out);

/* Prints "  function file:line" lines of a stack to fd, for reports of a process about to die and
 * for leak reports. Allocates. */
void cu_stack_print(int fd, const cu_frame *frames, unsigned n);

/* Totals for self-reports. */
#define COPPER_MODULES_MAX 65535u /* that ever were */
struct cu_stacks_stats {
    uint64_t modules, rows, table_bytes, prepare_ns, misses_unwound, libunwind_steps;
    uint64_t
        modules_refused; /* mappings left out at a look, as there were COPPER_MODULES_MAX before */
};
void cu_stacks_stats_read(struct cu_stacks_stats *out);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
