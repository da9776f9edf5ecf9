/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: function symbols of an ELF file: .symtab, .dynsym, and names for PLT stubs; build-id and
 * debug link.
 *
 * Design. Files are read with pread into memory of our own, never mapped: a file that is truncated
 * while we read it gives an error and not SIGBUS. Every offset is checked against the file's size.
 *
 * Invariants. A symbol covers [start, limit). Symbols without a size are taken only if they are
 * functions (hand-written assembly), and reach to the next function of their section.
 */
#include "internal.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTIONS_MAX     100000u
#define SYMBOL_BYTES_MAX (1ull << 30) /* one symbol or string table */
#define LOCAL_RANK       64
#define PLT_RANK         255
#define STUB_BYTES       16
#define MARKS_MAX        15 /* underscores that count */

/* ---- reading --------------------------------------------------------------------------------- */

static bool read_at(const struct cu__elf *e, uint64_t at, void *buf, uint64_t n)
{
    uint64_t done = 0;
    if (at > e->n || n > e->n - at)
        return false;
    while (done < n) {
        ssize_t got = pread(e->fd, (char *)buf + done, n - done, (off_t)(at + done));
        if (got <= 0)
            return false;
        done += (uint64_t)got;
    }
    return true;
}

/* n bytes at an offset, in new memory, with a zero byte after them. */
static void *read_new(const struct cu__elf *e, uint64_t at, uint64_t n)
{
    if (at > e->n || n > e->n - at || n > SYMBOL_BYTES_MAX)
        return NULL;
    char *buf = malloc(n + 1);
    if (!buf || !read_at(e, at, buf, n)) {
        free(buf);
        return NULL;
    }
    buf[n] = '\0';
    return buf;
}

static const Elf64_Shdr *section(const struct cu__elf *e, unsigned i)
{
    return i < e->nsections ? (const Elf64_Shdr *)e->sections + i : NULL;
}

static const char *section_name(const struct cu__elf *e, const Elf64_Shdr *s)
{
    return s->sh_name < e->section_names_n ? e->section_names + s->sh_name : "";
}

static const Elf64_Shdr *section_named(const struct cu__elf *e, const char *name)
{
    for (unsigned i = 1; i < e->nsections; i++)
        if (strcmp(section_name(e, section(e, i)), name) == 0)
            return section(e, i);
    return NULL;
}

static bool read_sections(struct cu__elf *e)
{
    Elf64_Ehdr eh;
    Elf64_Shdr first;
    if (!read_at(e, 0, &eh, sizeof eh) || memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0 ||
        eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_shoff == 0 || eh.e_shentsize != sizeof first ||
        !read_at(e, eh.e_shoff, &first, sizeof first))
        return false;
    uint64_t n = eh.e_shnum ? eh.e_shnum : first.sh_size;
    uint64_t names = eh.e_shstrndx == SHN_XINDEX ? first.sh_link : eh.e_shstrndx;
    if (n == 0 || n > SECTIONS_MAX || names >= n)
        return false;
    e->sections = read_new(e, eh.e_shoff, n * sizeof first);
    e->nsections = e->sections ? (unsigned)n : 0;
    const Elf64_Shdr *s = e->sections ? section(e, (unsigned)names) : NULL;
    e->section_names = s ? read_new(e, s->sh_offset, s->sh_size) : NULL;
    e->section_names_n = e->section_names ? s->sh_size : 0;
    return e->section_names != NULL;
}

bool cu__elf_open(struct cu__elf *e, int fd)
{
    struct stat st;
    memset(e, 0, sizeof *e);
    e->fd = fd;
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        e->n = (uint64_t)st.st_size;
        if (read_sections(e))
            return true;
    }
    cu__elf_close(e);
    return false;
}

void cu__elf_close(struct cu__elf *e)
{
    if (e->fd >= 0)
        close(e->fd);
    free(e->sections);
    free(e->section_names);
    memset(e, 0, sizeof *e);
    e->fd = -1;
}

uint32_t cu__elf_build_id(const struct cu__elf *e, uint8_t out[COPPER_BUILD_ID_MAX])
{
    for (unsigned i = 1; i < e->nsections; i++) {
        const Elf64_Shdr *s = section(e, i);
        Elf64_Nhdr h;
        char name[4];
        if (s->sh_type != SHT_NOTE || !read_at(e, s->sh_offset, &h, sizeof h) ||
            h.n_type != NT_GNU_BUILD_ID || h.n_namesz != 4 ||
            !read_at(e, s->sh_offset + sizeof h, name, 4) || memcmp(name, "GNU", 4) != 0)
            continue;
        uint32_t n = h.n_descsz < COPPER_BUILD_ID_MAX ? h.n_descsz : COPPER_BUILD_ID_MAX;
        return read_at(e, s->sh_offset + sizeof h + 4, out, n) ? n : 0;
    }
    return 0;
}

bool cu__elf_debuglink(const struct cu__elf *e, char name[256], uint32_t *crc)
{
    const Elf64_Shdr *s = section_named(e, ".gnu_debuglink");
    uint8_t bytes[264];
    if (!s || s->sh_size < 8 || s->sh_size > sizeof bytes ||
        !read_at(e, s->sh_offset, bytes, s->sh_size))
        return false;
    size_t n = strnlen((char *)bytes, s->sh_size);
    if (n == 0 || n > 255 || ((n + 4) & ~3ull) + 4 > s->sh_size || memchr(bytes, '/', n))
        return false;
    memcpy(name, bytes, n + 1);
    memcpy(crc, bytes + ((n + 4) & ~3ull), 4);
    return true;
}

/* The checksum a debug link carries: the usual CRC-32. */
uint32_t cu__elf_crc(const struct cu__elf *e)
{
    uint32_t table[256], crc = 0xffffffffu;
    static const size_t step = 1u << 16;
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (int k = 0; k < 8; k++)
            table[i] = table[i] & 1 ? table[i] >> 1 ^ 0xedb88320u : table[i] >> 1;
    }
    uint8_t *buf = malloc(step);
    for (uint64_t at = 0; buf && at < e->n;) {
        uint64_t n = e->n - at < step ? e->n - at : step;
        if (!read_at(e, at, buf, n))
            break;
        for (uint64_t i = 0; i < n; i++)
            crc = table[(crc ^ buf[i]) & 255] ^ crc >> 8;
        at += n;
    }
    free(buf);
    return ~crc;
}

/* ---- collecting ------------------------------------------------------------------------------ */

static bool add_symbol(struct cu__symbols *out, uint64_t start, uint64_t limit, const char *name,
                       uint8_t rank)
{
    if (!name)
        return false;
    if (out->n == out->cap) {
        size_t cap = out->cap ? out->cap * 2 : 512;
        struct cu__symbol *more = realloc(out->list, cap * sizeof *more);
        if (!more)
            return false;
        out->list = more;
        out->cap = cap;
    }
    out->list[out->n++] = (struct cu__symbol){start, limit, name, rank};
    return true;
}

/* Global before weak before local, few leading underscores before many. */
static uint8_t rank_of(const Elf64_Sym *sym, const char *name)
{
    unsigned bind = ELF64_ST_BIND(sym->st_info), marks = 0;
    while (marks < MARKS_MAX && name[marks] == '_')
        marks++;
    unsigned rank = bind == STB_GLOBAL || bind == STB_GNU_UNIQUE ? 0 : bind == STB_WEAK ? 16 : 32;
    return (uint8_t)(rank + marks);
}

static bool is_function(const Elf64_Sym *sym)
{
    unsigned type = ELF64_ST_TYPE(sym->st_info);
    return sym->st_shndx != SHN_UNDEF && sym->st_value != 0 &&
           (type == STT_FUNC || type == STT_GNU_IFUNC);
}

static bool take_symbols(struct cu__symbols *out, const Elf64_Sym *sym, size_t n,
                         const char *strings, uint64_t strings_n, struct cu__arena *a)
{
    size_t before = out->n;
    for (size_t i = 0; i < n; i++) {
        if (!is_function(&sym[i]) || sym[i].st_name >= strings_n)
            continue;
        const char *name = strings + sym[i].st_name;
        if (!*name)
            continue;
        size_t length = strnlen(name, strings_n - sym[i].st_name);
        const char *version = memchr(name, '@', length); /* .symtab has "name@@VERSION" */
        if (version && version > name)
            length = (size_t)(version - name);
        /* limit == start marks "no size" until cu__symbols_sort knows the next one */
        if (!add_symbol(out, sym[i].st_value, sym[i].st_value + sym[i].st_size,
                        cu__arena_string(a, name, length), rank_of(&sym[i], name)))
            return false;
    }
    return out->n > before;
}

/* Sizeless functions reach to the next function, or their section's end. */
static void give_sizes(const struct cu__elf *e, struct cu__symbols *out)
{
    cu__symbols_sort(out);
    for (size_t i = 0; i < out->n; i++) {
        struct cu__symbol *s = &out->list[i];
        if (s->limit != s->start)
            continue;
        for (unsigned k = 1; k < e->nsections; k++) {
            const Elf64_Shdr *in = section(e, k);
            if ((in->sh_flags & SHF_EXECINSTR) && s->start >= in->sh_addr &&
                s->start < in->sh_addr + in->sh_size)
                s->limit = in->sh_addr + in->sh_size;
        }
        if (i + 1 < out->n && out->list[i + 1].start < s->limit)
            s->limit = out->list[i + 1].start;
    }
}

static bool take_table(const struct cu__elf *e, uint32_t type, struct cu__arena *a,
                       struct cu__symbols *out)
{
    for (unsigned i = 1; i < e->nsections; i++) {
        const Elf64_Shdr *s = section(e, i);
        const Elf64_Shdr *names = section(e, s->sh_link);
        if (s->sh_type != type || !names || names->sh_type != SHT_STRTAB)
            continue;
        Elf64_Sym *sym = read_new(e, s->sh_offset, s->sh_size);
        char *strings = read_new(e, names->sh_offset, names->sh_size);
        bool is_taken =
            sym && strings &&
            take_symbols(out, sym, s->sh_size / sizeof *sym, strings, names->sh_size, a);
        free(sym);
        free(strings);
        if (is_taken)
            give_sizes(e, out);
        return is_taken;
    }
    return false;
}

/* ---- PLT stubs ------------------------------------------------------------------------------- */

struct slot {
    uint64_t at;
    uint32_t symbol;
};

struct plt {
    struct slot *slots;
    size_t nslots, cap;
    Elf64_Sym *sym;
    uint64_t nsym;
    char *strings;
    uint64_t strings_n;
};

static int compare_slots(const void *a, const void *b)
{
    uint64_t x = ((const struct slot *)a)->at, y = ((const struct slot *)b)->at;
    return (x > y) - (x < y);
}

static void take_slots(const struct cu__elf *e, const Elf64_Shdr *s, struct plt *p)
{
    Elf64_Rela *rela = read_new(e, s->sh_offset, s->sh_size);
    for (uint64_t i = 0; rela && i < s->sh_size / sizeof *rela; i++) {
        uint64_t type = ELF64_R_TYPE(rela[i].r_info);
        if (type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT)
            continue;
        if (p->nslots == p->cap) {
            size_t cap = p->cap ? p->cap * 2 : 256;
            struct slot *more = realloc(p->slots, cap * sizeof *more);
            if (!more)
                break;
            p->slots = more;
            p->cap = cap;
        }
        p->slots[p->nslots++] =
            (struct slot){rela[i].r_offset, (uint32_t)ELF64_R_SYM(rela[i].r_info)};
    }
    free(rela);
}

static const char *slot_name(const struct plt *p, uint64_t at)
{
    struct slot key = {at, 0};
    const struct slot *s =
        p->nslots ? bsearch(&key, p->slots, p->nslots, sizeof key, compare_slots) : NULL;
    if (!s || s->symbol >= p->nsym || p->sym[s->symbol].st_name >= p->strings_n)
        return NULL;
    return p->strings + p->sym[s->symbol].st_name;
}

/* A stub jumps through the slot its symbol's address is put into: `ff 25 disp32`. */
static bool take_stubs(const struct cu__elf *e, const Elf64_Shdr *s, const struct plt *p,
                       struct cu__arena *a, struct cu__symbols *out)
{
    uint64_t size =
        strcmp(section_name(e, s), ".plt.got") == 0 && s->sh_entsize == 8 ? 8 : STUB_BYTES;
    uint8_t *code = read_new(e, s->sh_offset, s->sh_size);
    bool is_fine = true;
    for (uint64_t i = 0; code && is_fine && i + 6 <= s->sh_size; i++) {
        int32_t disp;
        if (code[i] != 0xff || code[i + 1] != 0x25)
            continue;
        memcpy(&disp, code + i + 2, 4);
        const char *name = slot_name(p, s->sh_addr + i + 6 + (uint64_t)(int64_t)disp);
        uint64_t start = s->sh_addr + i / size * size;
        if (!name || !*name)
            continue;
        size_t n = strlen(name);
        char *stub = cu__arena_take(a, n + 5);
        if (stub) {
            memcpy(stub, name, n);
            memcpy(stub + n, "@plt", 5);
        }
        is_fine = add_symbol(out, start, start + size, stub, PLT_RANK);
        i += 5;
    }
    free(code);
    return is_fine;
}

static bool take_plt(const struct cu__elf *e, struct cu__arena *a, struct cu__symbols *out)
{
    struct plt p = {0};
    size_t before = out->n;
    for (unsigned i = 1; i < e->nsections; i++) {
        const Elf64_Shdr *s = section(e, i);
        const Elf64_Shdr *names = section(e, s->sh_link);
        if (s->sh_type == SHT_RELA && (s->sh_flags & SHF_ALLOC)) {
            take_slots(e, s, &p);
        } else if (s->sh_type == SHT_DYNSYM && names && !p.sym) {
            p.sym = read_new(e, s->sh_offset, s->sh_size);
            p.nsym = p.sym ? s->sh_size / sizeof *p.sym : 0;
            p.strings = read_new(e, names->sh_offset, names->sh_size);
            p.strings_n = p.strings ? names->sh_size : 0;
        }
    }
    if (p.nslots)
        qsort(p.slots, p.nslots, sizeof *p.slots, compare_slots);
    for (unsigned i = 1; i < e->nsections; i++) {
        const Elf64_Shdr *s = section(e, i);
        if (s->sh_type == SHT_PROGBITS && strncmp(section_name(e, s), ".plt", 4) == 0 &&
            !take_stubs(e, s, &p, a, out))
            break;
    }
    free(p.slots);
    free(p.sym);
    free(p.strings);
    return out->n > before;
}

bool cu__elf_symbols(const struct cu__elf *e, enum cu__symbols_from from, struct cu__arena *a,
                     struct cu__symbols *out)
{
    switch (from) {
    case COPPER_SYMTAB:
        return take_table(e, SHT_SYMTAB, a, out);
    case COPPER_DYNSYM:
        return take_table(e, SHT_DYNSYM, a, out);
    case COPPER_PLT:
        return take_plt(e, a, out);
    }
    return false;
}

/* ---- images in memory ------------------------------------------------------------------------ */

struct memory_image {
    const uint8_t *bytes;
    uint64_t n, bias, base;
};

/* Bytes at a pointer of the dynamic section: an address, or in the vdso an offset. */
static const uint8_t *at_pointer(const struct memory_image *m, uint64_t pointer, uint64_t n)
{
    uint64_t off = pointer >= m->base ? pointer - m->base : pointer + m->bias - m->base;
    return off <= m->n && n <= m->n - off ? m->bytes + off : NULL;
}

/* How many symbols the hash table knows. */
static uint64_t count_by_hash(const struct memory_image *m, uint64_t hash, uint64_t gnu_hash)
{
    uint32_t h[4], last = 0;
    const uint8_t *p = hash ? at_pointer(m, hash, 8) : NULL;
    if (p) {
        memcpy(h, p, 8);
        return h[1];
    }
    p = gnu_hash ? at_pointer(m, gnu_hash, 16) : NULL;
    if (!p)
        return 0;
    memcpy(h, p, 16);
    uint64_t buckets = gnu_hash + 16 + 8ull * h[2], chains = buckets + 4ull * h[0];
    for (uint32_t i = 0; i < h[0]; i++) {
        uint32_t v;
        p = at_pointer(m, buckets + 4ull * i, 4);
        if (!p)
            return 0;
        memcpy(&v, p, 4);
        last = v > last ? v : last;
    }
    for (uint32_t v = 0; last >= h[1]; last++) {
        p = at_pointer(m, chains + 4ull * (last - h[1]), 4);
        if (!p)
            return 0;
        memcpy(&v, p, 4);
        if (v & 1)
            return last + 1ull;
    }
    return 0;
}

static uint64_t find_dynamic(const struct memory_image *m)
{
    Elf64_Ehdr eh;
    Elf64_Phdr ph;
    memcpy(&eh, m->bytes, sizeof eh);
    for (unsigned i = 0; i < eh.e_phnum; i++) {
        uint64_t at = eh.e_phoff + i * sizeof ph;
        if (at + sizeof ph > m->n || at < eh.e_phoff)
            return 0;
        memcpy(&ph, m->bytes + at, sizeof ph);
        if (ph.p_type == PT_DYNAMIC)
            return m->bias + ph.p_vaddr;
    }
    return 0;
}

bool cu__elf_symbols_in_memory(const uint8_t *bytes, size_t n, uint64_t bias, uint64_t base,
                               struct cu__arena *a, struct cu__symbols *out)
{
    struct memory_image m = {bytes, n, bias, base};
    uint64_t symbols = 0, strings = 0, strings_n = 0, hash = 0, gnu_hash = 0;
    uint64_t at = n >= sizeof(Elf64_Ehdr) ? find_dynamic(&m) : 0;
    for (; at; at += sizeof(Elf64_Dyn)) {
        Elf64_Dyn d;
        const uint8_t *p = at_pointer(&m, at, sizeof d);
        if (!p)
            return false;
        memcpy(&d, p, sizeof d);
        if (d.d_tag == DT_NULL)
            break;
        uint64_t *to = d.d_tag == DT_SYMTAB     ? &symbols
                       : d.d_tag == DT_STRTAB   ? &strings
                       : d.d_tag == DT_STRSZ    ? &strings_n
                       : d.d_tag == DT_HASH     ? &hash
                       : d.d_tag == DT_GNU_HASH ? &gnu_hash
                                                : NULL;
        if (to)
            *to = d.d_un.d_val;
    }
    uint64_t count = count_by_hash(&m, hash, gnu_hash);
    const uint8_t *text = at_pointer(&m, strings, strings_n);
    const uint8_t *table =
        count <= n / sizeof(Elf64_Sym) ? at_pointer(&m, symbols, count * sizeof(Elf64_Sym)) : NULL;
    if (!text || !table || !strings_n || text[strings_n - 1])
        return false;
    Elf64_Sym *copy = malloc(count * sizeof *copy + 1); /* aligned */
    if (!copy)
        return false;
    memcpy(copy, table, count * sizeof *copy);
    bool is_taken = take_symbols(out, copy, count, (const char *)text, strings_n, a);
    free(copy);
    cu__symbols_sort(out);
    return is_taken;
}

/* ---- finding --------------------------------------------------------------------------------- */

static int compare_symbols(const void *a, const void *b)
{
    const struct cu__symbol *x = a, *y = b;
    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    if ((x->limit == x->start) != (y->limit == y->start))
        return x->limit == x->start ? 1 : -1;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    if (x->limit != y->limit)
        return x->limit > y->limit ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Sorts and leaves one symbol, the best, for each start. */
void cu__symbols_sort(struct cu__symbols *s)
{
    size_t n = 0;
    if (s->n)
        qsort(s->list, s->n, sizeof *s->list, compare_symbols);
    for (size_t i = 0; i < s->n; i++)
        if (n == 0 || s->list[n - 1].start != s->list[i].start)
            s->list[n++] = s->list[i];
    s->n = n;
}

const struct cu__symbol *cu__symbols_find(const struct cu__symbols *s, uint64_t address)
{
    static const size_t nested_max = 16; /* symbols inside a longer one, as assembly has them */
    size_t lo = 0, n = s->n;
    if (n == 0 || address < s->list[0].start)
        return NULL;
    while (n > 1) {
        size_t half = n / 2;
        lo += s->list[lo + half].start <= address ? half : 0;
        n -= half;
    }
    for (size_t i = 0; i < nested_max && i <= lo; i++)
        if (address < s->list[lo - i].limit)
            return &s->list[lo - i];
    return NULL;
}
