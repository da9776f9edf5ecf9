/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what the files of this folder share: unwind tables, modules, reading of our own memory.
 *
 * Words. An *image* is one ELF file as loaded once (or the vdso). A *module* is one executable
 * mapping, which is what a profile calls a mapping; most images have one. A *table* holds the
 * unwind rows of an image, relative to its base, so that two loads of one file share it. A *rule*
 * is what a row says; equal rules are stored once for the whole process.
 *
 * Invariants. Images, modules, tables, chunks and rules are never freed or changed once a walker
 * can see them: that is what lets a signal handler follow pointers without any protocol. Their
 * number is bounded by the limits below; at a limit, stacks get shorter, never wrong.
 */
#ifndef COPPER_STACKS_INTERNAL_H
#define COPPER_STACKS_INTERNAL_H

#include <copper/stacks.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COPPER_BUILD_ID_MAX    32    /* bytes; longer ones are cut */
#define COPPER_FDES_PER_CHUNK  512   /* functions whose rows are made at once */
#define COPPER_FDES_EAGER_MAX  65536 /* images with more are prepared chunk by chunk */
#define COPPER_TABLE_BYTES_MAX (256u << 20)
#define COPPER_RULES_MAX       (1u << 20)
#define COPPER_RULES_PER_BLOCK 1024u
#define COPPER_JIT_BLOCK       (64ull << 20) /* bytes: code without a file is told apart by this much */
#define COPPER_PC_MIN          0x1000u       /* nothing is executable in the first page */
#define COPPER_PC_LIMIT        (1ull << 47)

/* ---- rules ----------------------------------------------------------------------------------- */

/* Registers a rule can name; the order of struct cu_regs after pc. */
enum cu__reg {
    COPPER_REG_SP,
    COPPER_REG_BP,
    COPPER_REG_BX,
    COPPER_REG_R12,
    COPPER_REG_R13,
    COPPER_REG_R14,
    COPPER_REG_R15,
    COPPER_REGS,
};
#define COPPER_SAVED_REGS (COPPER_REGS - 1) /* all but sp, which the CFA gives */

enum cu__rule_kind {
    COPPER_RULE_NONE,        /* no unwind information covers this pc */
    COPPER_RULE_CFA,         /* CFA = reg + cfa_off */
    COPPER_RULE_DEREF,       /* CFA = *(reg + cfa_off): functions that align their stack */
    COPPER_RULE_PLT,         /* CFA = sp + cfa_off, + 8 once (pc & 15) >= extra */
    COPPER_RULE_SIGNAL,      /* the kernel's ucontext is at sp */
    COPPER_RULE_CONTEXT,     /* the CFA's register or the return address is in a ucontext only */
    COPPER_RULE_ROOT,        /* outermost frame */
    COPPER_RULE_UNSUPPORTED, /* there is information, but only libunwind understands it */
};

#define COPPER_REG_IS_GREG   0x80 /* cfa_reg of a CONTEXT rule: the rest is an index into gregs */
#define COPPER_SAVED_SAME    0    /* the register still has the caller's value */
#define COPPER_SAVED_UNKNOWN INT16_MIN /* the caller's value is lost */

struct cu__rule {
    uint8_t kind;                     /* enum cu__rule_kind */
    uint8_t cfa_reg;                  /* enum cu__reg, or with COPPER_REG_IS_GREG */
    uint8_t via_bp;                   /* bit i: saved[i] counts from bp, not from the CFA */
    uint8_t extra;                    /* PLT: see above; CONTEXT: 1 + index into gregs of the return
                                         address, 0: it is on the stack */
    int32_t cfa_off;                  /* bytes */
    int16_t ra;                       /* where the return address is: CFA + 8 * ra */
    int16_t saved[COPPER_SAVED_REGS]; /* bp, bx, r12...: at CFA + 8 * saved[i] */
    int16_t spare;
};

struct cu__row {
    uint32_t at;   /* pc - image base from which it holds */
    uint32_t rule; /* index */
};

struct cu__chunk {
    uint32_t n;
    struct cu__row rows[];
};

struct cu__table {
    uint32_t nchunks;
    uint32_t nfdes;
    uint64_t fde_array; /* offset of the sorted (pc, fde) array from the image base; 0: fdes */
    uint64_t hdr;       /* offset of .eh_frame_hdr */
    struct cu__fde_ref *fdes; /* made by a scan where the image brings no array; else NULL */
    uint32_t *starts;         /* [nchunks]: pc - image base of each chunk's first function */
    _Atomic(struct cu__chunk *) *chunks; /* NULL: not made yet */
    _Atomic uint8_t *wanted;             /* a walk met a missing chunk; any: atomic */
};

struct cu__fde_ref {
    uint32_t at;  /* first pc - image base */
    uint32_t fde; /* address of the entry - image base */
};

/* The rule of this index. Signal-safe. (table.c) */
const struct cu__rule *cu__rule_sig(uint32_t index);
/* Index of the rule for an offset; or its chunk is not made yet, and is wanted from now on.
 * (table.c) */
#define COPPER_RULE_MISSING UINT32_MAX
uint32_t cu__table_find_sig(const struct cu__table *t, uint32_t at);
extern _Atomic uint32_t cu__chunks_wanted;

/* ---- reading memory that may vanish ---------------------------------------------------------- */

/* Where bytes come from: our own process, or a test's buffer. Returns how many of the n bytes at
 * address could be read. */
struct cu__memory {
    size_t (*read)(void *ctx, uint64_t address, void *buf, size_t n);
    void *ctx;
};
extern const struct cu__memory cu__self_memory;
size_t cu__read_self(uint64_t address, void *buf, size_t n);
bool cu__read_exactly(const struct cu__memory *m, uint64_t address, void *buf, size_t n);

/* ---- maps ------------------------------------------------------------------------------------ */

struct cu__map {
    uint64_t start, limit, offset, dev, inode;
    bool is_exec, is_readable, is_deleted;
    char *path; /* "" when anonymous; owned by the list */
};
struct cu__maps {
    struct cu__map *list;
    size_t n;
    char *text;
};
int cu__maps_read(struct cu__maps *out);
void cu__maps_free(struct cu__maps *m);

/* ---- .eh_frame ------------------------------------------------------------------------------- */

/* One image's unwind information. All addresses absolute. */
struct cu__cfi {
    const struct cu__memory *memory;
    uint64_t base, limit; /* of the image: nothing outside is read or believed */
    uint64_t hdr;         /* .eh_frame_hdr */
};

/* Receives rows in rising order, ends with a NONE row. false: stop. */
typedef bool cu__row_fn(void *ctx, uint64_t pc, const struct cu__rule *rule);

/* What .eh_frame_hdr says. false: no usable header. (cfi.c) */
struct cu__cfi_index {
    uint64_t eh_frame;
    uint64_t array; /* 0: no search array */
    uint64_t nfdes;
};
bool cu__cfi_index(const struct cu__cfi *c, struct cu__cfi_index *out);

struct cu__cfi_reader; /* window and scratch */
struct cu__cfi_reader *cu__cfi_open(const struct cu__cfi *c);
void cu__cfi_close(struct cu__cfi_reader *r);
/* The functions' range of the entry at this address. */
bool cu__cfi_fde_range(struct cu__cfi_reader *r, uint64_t fde, uint64_t *start, uint64_t *limit);
/* Rows of the entry at this address. false: not an entry, or malformed; rows may have been given.
 */
bool cu__cfi_fde_rows(struct cu__cfi_reader *r, uint64_t fde, cu__row_fn *row, void *ctx);
/* Next entry after an address in the section, for scans. 0: end. is_fde tells what it is. */
uint64_t cu__cfi_next(struct cu__cfi_reader *r, uint64_t entry, bool *is_fde);

/* ---- tables ---------------------------------------------------------------------------------- */

/* A table of the image, its chunks made if there are not too many. NULL: no unwind information, or
 * out of memory (*err -ENOMEM). Lock: prepare. */
struct cu__table *cu__table_make(const struct cu__cfi *c, int *err);
void cu__table_free(struct cu__table *t); /* only before it was published */
/* Makes one missing chunk. true: it is there now. Lock: prepare. */
bool cu__table_fill(struct cu__table *t, const struct cu__cfi *c, uint32_t chunk);
uint32_t cu__table_chunk_of_sig(const struct cu__table *t, uint32_t at);
uint32_t cu__rule_intern(const struct cu__rule *rule);
void cu__table_stats(uint64_t *rows, uint64_t *bytes);

/* ---- modules --------------------------------------------------------------------------------- */

struct cu__image {
    uint64_t base, limit; /* address range of its PT_LOADs */
    uint64_t bias;        /* address - ELF virtual address */
    uint64_t hdr;         /* address of .eh_frame_hdr, 0: none */
    uint64_t dynamic;     /* address of the dynamic section, 0: none */
    uint64_t build_id_at; /* address of its build-id's bytes */
    uint32_t build_id_n;
    uint8_t build_id[COPPER_BUILD_ID_MAX];
    uint64_t dev, inode;
    char *path; /* without " (deleted)" */
    char *build_id_hex;
    char *soname;  /* "" when none */
    char **needed; /* names of DT_NEEDED, ends with NULL */
    bool is_vdso, is_main, is_deleted, is_nodelete;
    bool is_elf;                       /* false: memory with code in it, not from an ELF file */
    bool is_jit;                       /* code that nobody loaded from a file */
    _Atomic bool is_permanent;         /* cannot be unloaded */
    _Atomic bool has_no_cfi;           /* known to have no unwind information at all */
    _Atomic(struct cu__table *) table; /* NULL: not made yet, or has_no_cfi */
    _Atomic uint32_t verified;         /* epoch at which it was seen to be there; 0: never */
    uint8_t *symbols; /* copy of the dynamic symbols of an unlinked, unloadable file */
    size_t symbols_n;
    struct cu__image *next;       /* those of one bucket by address. lock: prepare */
    struct cu__image *next_owner; /* those that tables were made of. lock: prepare */
};

struct cu__module {
    struct cu_module public;
    struct cu__image *image;
    uint32_t next;                      /* id: those of one bucket by address. lock: prepare */
    _Atomic(struct cu__module *) other; /* one that was at this address before, and may be again */
};

/* The module at pc, if that is certain for the epoch. NULL: none. is_live: the pc is on a live
 * stack of this moment, so that an image that looks right is right. Signal-safe. (modules.c) */
const struct cu__module *cu__module_find_sig(uint64_t pc, uint32_t epoch, bool is_live);
/* Does any module we know of now cover pc? */
bool cu__module_is_any_at(uint64_t pc);
const struct cu__module *cu__module_get(uint32_t id);
uint32_t cu__modules_count(void); /* ids 1 to this are given */
/* How many ranges are loaded now, or were until lately. */
size_t cu__modules_loaded(void);
/* Registers a mapping, or finds it. NULL: out of memory or ids. Fast however many there were. Lock:
 * prepare. */
struct cu__module *cu__module_add(struct cu__image *image, uint64_t start, uint64_t limit,
                                  uint64_t offset);
/* What walkers see from now on. Takes n modules with the ranges they have now. Lock: prepare. */
struct cu__range {
    uint64_t start, limit;
    struct cu__module *module;
};
int cu__modules_publish(struct cu__range *ranges, size_t n);
/* Something was asked for that no range covers. any: atomic */
extern _Atomic bool cu__is_unknown_seen;
/* Epoch in the low half, closings under way in the high half. */
uint64_t cu__epoch_word(void);
static inline bool cu__epoch_is_quiet(uint64_t word)
{
    return word >> 32 == 0;
}

/* Images. (image.c) Lock: prepare. */
struct cu__image *cu__image_from_memory(const struct cu__map *first);
struct cu__image *cu__image_of_code(const struct cu__map *map);
void cu__image_free(struct cu__image *image); /* only before it was published */
bool cu__image_is_there(const struct cu__image *image);
struct cu__cfi cu__image_cfi(const struct cu__image *image);

/* Makes the chunk that covers pc, if that is what was missing. true: worth another look.
 * (prepare.c) */
bool cu__prepare_chunk(const struct cu__module *m, uint64_t pc);
/* For cu_stacks_stats_read. */
void cu__prepare_stats(struct cu_stacks_stats *out);
void cu__unwound_stats(struct cu_stacks_stats *out);

/* ---- the walker ------------------------------------------------------------------------------ */

/* Stack bytes: either the live stack (delta 0) or a copy of it somewhere else. */
struct cu__stack {
    uint64_t lo, hi; /* what may be read: addresses as the program knew them */
    uint64_t delta;  /* add to an address to find its byte */
    uint32_t epoch;
    bool is_live;
};
/* Walks with all registers. is_first_known: the first frame is in frames[] already. */
void cu__walk_full_sig(struct cu_walk *w, const struct cu__stack *s, bool is_first_known);

/* ---- symbols --------------------------------------------------------------------------------- */

/* Memory that lives as long as a symbolizer. (symbolize.c) */
struct cu__arena;
void *cu__arena_take(struct cu__arena *a, size_t n); /* zeroed, 16-aligned; NULL: out of memory */
char *cu__arena_string(struct cu__arena *a, const char *text, size_t n);

/* An ELF file, or an image's bytes as they lie in memory. (elf.c) */
struct cu__elf {
    int fd; /* -1: bytes */
    const uint8_t *bytes;
    uint64_t n;     /* bytes in all */
    void *sections; /* Elf64_Shdr[]; NULL for bytes */
    unsigned nsections;
    char *section_names;
    uint64_t section_names_n;
};
bool cu__elf_open(struct cu__elf *e, int fd); /* takes fd over, also on failure */
void cu__elf_close(struct cu__elf *e);
uint32_t cu__elf_build_id(const struct cu__elf *e, uint8_t out[COPPER_BUILD_ID_MAX]);
/* Contents of the .gnu_debuglink section. */
bool cu__elf_debuglink(const struct cu__elf *e, char name[256], uint32_t *crc);
uint32_t cu__elf_crc(const struct cu__elf *e);

/* Functions by ELF virtual address, sorted. */
struct cu__symbol {
    uint64_t start, limit;
    const char *name;
    uint8_t rank; /* lower is better among those with one start */
};
struct cu__symbols {
    struct cu__symbol *list;
    size_t n, cap;
};
enum cu__symbols_from { COPPER_SYMTAB, COPPER_DYNSYM, COPPER_PLT };
/* Adds them, names in the arena. false: there are none, or out of memory. */
bool cu__elf_symbols(const struct cu__elf *e, enum cu__symbols_from from, struct cu__arena *a,
                     struct cu__symbols *out);
/* The same from an image's bytes in memory order, without section headers. */
bool cu__elf_symbols_in_memory(const uint8_t *bytes, size_t n, uint64_t bias, uint64_t base,
                               struct cu__arena *a, struct cu__symbols *out);
void cu__symbols_sort(struct cu__symbols *s);
const struct cu__symbol *cu__symbols_find(const struct cu__symbols *s, uint64_t address);

/* Lines and inlined calls. (lines.c) */
struct cu__lines;
struct cu__lines *cu__lines_open(const char *path_of_fd); /* NULL: no debug information in it */
void cu__lines_close(struct cu__lines *l);
/* Innermost first; at most max; 0: unknown. Strings live as long as l or the arena. *start: of the
 * physical function. */
size_t cu__lines_find(struct cu__lines *l, uint64_t address, struct cu__arena *a,
                      struct cu_symbol_line *out, size_t max, uint64_t *start);

/* The file an image was loaded from, proven by its build-id, and its bytes by address. What it says
 * about unwinding is what memory says (nothing there is relocated), and it cannot change under our
 * eyes. */
#define COPPER_SEGMENTS_MAX 16
struct cu__image_file {
    struct cu__elf elf;
    unsigned n;
    struct {
        uint64_t start, limit, offset; /* addresses in the process; offset in the file */
    } segments[COPPER_SEGMENTS_MAX];
    struct cu__memory memory;
};
bool cu__image_file_open(struct cu__image_file *f, const struct cu__image *image);
void cu__image_file_close(struct cu__image_file *f);

/* All bytes of an image as they lie in memory now, holes zero. NULL: too large, out of memory. */
uint8_t *cu__image_copy(const struct cu__image *image, size_t *n);

#endif
