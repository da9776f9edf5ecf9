/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: names, files and lines for frames.
 *
 * Design. For each image of another build, once: the file it was loaded from (by its path,
 * /proc/self/exe, or the kernel's map_files), accepted only if its build-id is the one in memory;
 * then a separate debug file. Symbols come from the first of: the debug file's .symtab, the file's
 * .symtab, its .dynsym, the dynamic symbols in memory (vdso, files that are gone); PLT stubs are
 * named after what they jump to. Lines and inlined calls come from whichever file has DWARF.
 * Addresses are turned into the file's virtual addresses; an unnamed frame is "file+0xADDRESS" with
 * that address, which is what addr2line and objdump understand.
 *
 * The physical function gets its name from the symbol table where it has one, so that a function
 * has the same name with and without debug information installed.
 *
 * Concurrency. A symbolizer has a lock, which is held while it finds out, so that many may share
 * one; what it once gave out does not change. Images are immutable.
 */
#include "internal.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ARENA_BLOCK      (64u << 10)
#define INLINE_DEPTH_MAX 64
#define CACHE_FIRST      1024u
#define PATH_BYTES_MAX   4096
#define DEBUG_ROOT       "/usr/lib/debug"
#define GONE_IMAGES_MAX  64 /* and of images that are loaded no more */

struct arena_block {
    struct arena_block *next;
    size_t used, size;
    max_align_t bytes[];
};

struct cu__arena {
    struct arena_block *blocks;
};

struct known_image {
    const struct cu__image *image;
    struct cu__symbols symbols;
    struct cu__lines *lines;
};

struct cached {
    cu_frame frame;
    struct cu_symbol symbol;
};

struct cu_symbolizer {
    pthread_mutex_t lock; /* of all that follows */
    struct cu__arena arena;
    struct known_image *images;
    size_t nimages;
    struct cached **cache; /* open addressing */
    size_t ncache, cache_slots;
};

/* ---- arena ----------------------------------------------------------------------------------- */

void *cu__arena_take(struct cu__arena *a, size_t n)
{
    n = (n + 15) & ~(size_t)15;
    struct arena_block *b = a->blocks;
    if (!b || b->size - b->used < n) {
        size_t size = n > ARENA_BLOCK ? n : ARENA_BLOCK;
        b = calloc(1, sizeof *b + size);
        if (!b)
            return NULL;
        b->size = size;
        b->next = a->blocks;
        a->blocks = b;
    }
    void *p = (char *)b->bytes + b->used;
    b->used += n;
    return p;
}

char *cu__arena_string(struct cu__arena *a, const char *text, size_t n)
{
    char *copy = cu__arena_take(a, n + 1);
    if (copy)
        memcpy(copy, text, n);
    return copy;
}

/* ---- finding files --------------------------------------------------------------------------- */

/* Is this file what the image was loaded from? */
static bool is_same_file(const struct cu__elf *e, const struct cu__image *image)
{
    uint8_t id[COPPER_BUILD_ID_MAX];
    struct stat st;
    if (image->build_id_n)
        return cu__elf_build_id(e, id) == image->build_id_n &&
               memcmp(id, image->build_id, image->build_id_n) == 0;
    return fstat(e->fd, &st) == 0 && st.st_ino == image->inode;
}

static bool try_file(struct cu__elf *e, const char *path, const struct cu__image *image)
{
    if (!cu__elf_open(e, open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)))
        return false;
    if (is_same_file(e, image))
        return true;
    cu__elf_close(e);
    return false;
}

static bool open_file(struct cu__elf *e, const struct cu__image *image, const struct cu_module *m)
{
    char path[64];
    if (image->path[0] == '/' && try_file(e, image->path, image))
        return true;
    if (image->is_main && try_file(e, "/proc/self/exe", image))
        return true;
    snprintf(path, sizeof path, "/proc/self/map_files/%llx-%llx", (unsigned long long)m->start,
             (unsigned long long)m->limit);
    return image->path[0] == '/' && try_file(e, path, image);
}

static bool try_debug(struct cu__elf *e, const char *path, const struct cu__image *image,
                      const uint32_t *crc)
{
    uint8_t id[COPPER_BUILD_ID_MAX];
    if (!cu__elf_open(e, open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)))
        return false;
    uint32_t n = cu__elf_build_id(e, id);
    if (image->build_id_n && n ? n == image->build_id_n && memcmp(id, image->build_id, n) == 0
                               : crc && cu__elf_crc(e) == *crc)
        return true;
    cu__elf_close(e);
    return false;
}

/* The separate debug file; its path goes to path. */
static bool open_debug(struct cu__elf *e, const struct cu__elf *file, const struct cu__image *image,
                       char path[PATH_BYTES_MAX])
{
    char link[256];
    uint32_t crc;
    const char *hex = image->build_id_hex;
    if (image->build_id_n > 1) {
        snprintf(path, PATH_BYTES_MAX, DEBUG_ROOT "/.build-id/%.2s/%s.debug", hex, hex + 2);
        if (try_debug(e, path, image, NULL))
            return true;
    }
    const char *slash = strrchr(image->path, '/');
    if (!file || !slash || !cu__elf_debuglink(file, link, &crc))
        return false;
    int dir = (int)(slash - image->path);
    static const struct {
        const char *before, *between;
    } places[] = {{"", "/"}, {"", "/.debug/"}, {DEBUG_ROOT, "/"}};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char where[PATH_BYTES_MAX];
        int n = snprintf(where, sizeof where, "%s%.*s%s%s", places[i].before, dir, image->path,
                         places[i].between, link);
        if (n < 0 || (size_t)n >= sizeof where || !try_debug(e, where, image, &crc))
            continue;
        memcpy(path, where, (size_t)n + 1);
        return true;
    }
    return false;
}

/* ---- images ---------------------------------------------------------------------------------- */

static void take_from_memory(struct cu_symbolizer *s, struct known_image *k)
{
    const struct cu__image *image = k->image;
    size_t n = image->symbols_n;
    uint8_t *copy = NULL;
    const uint8_t *bytes = image->symbols;
    if (!bytes) {
        bytes = copy = cu__image_copy(image, &n);
        /* looked at after the copy was made: what was copied is this image's */
        if (!image->build_id_n || !cu__image_is_there(image))
            n = 0;
    }
    if (bytes && n)
        cu__elf_symbols_in_memory(bytes, n, image->bias, image->base, &s->arena, &k->symbols);
    free(copy);
}

static void take_from_files(struct cu_symbolizer *s, struct known_image *k,
                            const struct cu_module *m)
{
    struct cu__elf file, debug;
    char debug_path[PATH_BYTES_MAX], file_path[64];
    bool has_file = open_file(&file, k->image, m);
    bool has_debug = open_debug(&debug, has_file ? &file : NULL, k->image, debug_path);
    bool has_symbols = has_debug && cu__elf_symbols(&debug, COPPER_SYMTAB, &s->arena, &k->symbols);
    if (!has_symbols && has_file)
        has_symbols = cu__elf_symbols(&file, COPPER_SYMTAB, &s->arena, &k->symbols) ||
                      cu__elf_symbols(&file, COPPER_DYNSYM, &s->arena, &k->symbols);
    if (!has_symbols)
        take_from_memory(s, k);
    if (has_file)
        cu__elf_symbols(&file, COPPER_PLT, &s->arena, &k->symbols);
    cu__symbols_sort(&k->symbols);
    if (has_debug)
        k->lines = cu__lines_open(debug_path);
    if (!k->lines && has_file) {
        snprintf(file_path, sizeof file_path, "/proc/self/fd/%d", file.fd);
        k->lines = cu__lines_open(file_path);
    }
    if (has_debug)
        cu__elf_close(&debug);
    if (has_file)
        cu__elf_close(&file);
}

/* Addresses are the file's, so one that is loaded anew needs no symbols of its own. */
static bool is_known_as(const struct known_image *k, const struct cu__image *image)
{
    const struct cu__image *known = k->image;
    return known == image || (image->build_id_n && known->build_id_n == image->build_id_n &&
                              memcmp(known->build_id, image->build_id, image->build_id_n) == 0 &&
                              (k->symbols.n || k->lines));
}

static struct known_image *image_of(struct cu_symbolizer *s, const struct cu__module *m)
{
    for (size_t i = 0; i < s->nimages; i++)
        if (is_known_as(&s->images[i], m->image))
            return &s->images[i];
    struct known_image *more = realloc(s->images, (s->nimages + 1) * sizeof *more);
    if (!more)
        return NULL;
    s->images = more;
    struct known_image *k = &more[s->nimages++];
    memset(k, 0, sizeof *k);
    k->image = m->image;
    if (m->image->is_vdso)
        take_from_memory(s, k);
    else if (m->image->is_elf)
        take_from_files(s, k, &m->public);
    return k;
}

/* ---- one frame ------------------------------------------------------------------------------- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

/* The kernel's return trampoline has no symbol in stripped libraries, but tables know it. */
static bool is_trampoline(const struct cu__module *m, uint64_t pc)
{
    const struct cu__table *t = atomic_load_explicit(&m->image->table, memory_order_acquire);
    uint32_t rule =
        t ? cu__table_find_sig(t, (uint32_t)(pc - m->image->base)) : COPPER_RULE_MISSING;
    return rule != COPPER_RULE_MISSING && cu__rule_sig(rule)->kind == COPPER_RULE_SIGNAL;
}

static const char *unnamed(struct cu_symbolizer *s, const struct cu__module *m, uint64_t pc)
{
    char text[PATH_BYTES_MAX];
    uint64_t address = m ? pc - m->image->bias : pc;
    int n = snprintf(text, sizeof text, "%s+0x%llx", m ? base_name(m->public.path) : "unknown",
                     (unsigned long long)address);
    return cu__arena_string(&s->arena, text, n < 0 ? 0 : strnlen(text, sizeof text));
}

static size_t find_lines(struct cu_symbolizer *s, const struct cu__module *m, uint64_t pc,
                         struct cu_symbol_line *lines, struct cu_symbol *out)
{
    struct known_image *k = m ? image_of(s, m) : NULL;
    const struct cu__symbol *symbol = NULL;
    uint64_t address = m ? pc - m->image->bias : pc, start = 0;
    size_t n = 0;
    if (k) {
        symbol = cu__symbols_find(&k->symbols, address);
        if (k->lines)
            n = cu__lines_find(k->lines, address, &s->arena, lines, INLINE_DEPTH_MAX, &start);
    }
    if (n == 0)
        lines[n++] = (struct cu_symbol_line){NULL, NULL, 0, 0};
    if (symbol) {
        lines[n - 1].function = symbol->name;
        start = symbol->start;
    } else if (!lines[n - 1].function && m && is_trampoline(m, pc)) {
        lines[n - 1].function = "__restore_rt";
    }
    out->start = start && m ? start + m->image->bias : 0;
    out->is_named = lines[n - 1].function != NULL;
    if (!out->is_named)
        lines[n - 1].function = unnamed(s, m, pc);
    return n;
}

static void resolve(struct cu_symbolizer *s, cu_frame frame, struct cu_symbol *out)
{
    static const struct cu_symbol_line nothing = {"unknown", NULL, 0, 0};
    struct cu_symbol_line lines[INLINE_DEPTH_MAX];
    const struct cu__module *m = cu__module_get(COPPER_FRAME_MODULE(frame));
    memset(out, 0, sizeof *out);
    size_t n = find_lines(s, m, COPPER_FRAME_PC(frame), lines, out);
    struct cu_symbol_line *kept = cu__arena_take(&s->arena, n * sizeof *kept);
    if (kept && lines[n - 1].function) {
        memcpy(kept, lines, n * sizeof *kept);
        out->lines = kept;
        out->nlines = n;
        return;
    }
    out->lines = &nothing; /* out of memory */
    out->nlines = 1;
    out->is_named = false;
}

/* ---- cache ----------------------------------------------------------------------------------- */

static size_t slot_of(const struct cu_symbolizer *s, cu_frame frame)
{
    size_t at = (size_t)((frame * 0x9e3779b97f4a7c15ull) >> 20) & (s->cache_slots - 1);
    while (s->cache[at] && s->cache[at]->frame != frame)
        at = (at + 1) & (s->cache_slots - 1);
    return at;
}

static bool grow_cache(struct cu_symbolizer *s)
{
    struct cached **old = s->cache;
    size_t nold = s->cache_slots;
    struct cached **slots = calloc(nold ? nold * 2 : CACHE_FIRST, sizeof(struct cached *));
    if (!slots)
        return false;
    s->cache = slots;
    s->cache_slots = nold ? nold * 2 : CACHE_FIRST;
    for (size_t i = 0; i < nold; i++)
        if (old[i])
            s->cache[slot_of(s, old[i]->frame)] = old[i];
    free(old);
    return true;
}

static void look_up(struct cu_symbolizer *s, cu_frame frame, struct cu_symbol *out)
{
    if (s->ncache * 2 < s->cache_slots || grow_cache(s)) {
        size_t at = slot_of(s, frame);
        if (!s->cache[at]) {
            struct cached *c = cu__arena_take(&s->arena, sizeof *c);
            if (!c) {
                resolve(s, frame, out);
                return;
            }
            c->frame = frame;
            resolve(s, frame, &c->symbol);
            s->cache[at] = c;
            s->ncache++;
        }
        *out = s->cache[at]->symbol;
        return;
    }
    resolve(s, frame, out);
}

void cu_symbolize(struct cu_symbolizer *s, cu_frame frame, struct cu_symbol *out)
{
    pthread_mutex_lock(&s->lock);
    look_up(s, frame, out);
    pthread_mutex_unlock(&s->lock);
}

bool cu_symbolizer_is_outgrown(struct cu_symbolizer *s)
{
    pthread_mutex_lock(&s->lock);
    bool is_outgrown =
        s->ncache > COPPER_SYMBOLS_MAX || s->nimages > cu__modules_loaded() + GONE_IMAGES_MAX;
    pthread_mutex_unlock(&s->lock);
    return is_outgrown;
}

size_t cu_symbolizer_size(struct cu_symbolizer *s)
{
    pthread_mutex_lock(&s->lock);
    size_t n = s->ncache;
    pthread_mutex_unlock(&s->lock);
    return n;
}

struct cu_symbolizer *cu_symbolizer_open(void)
{
    struct cu_symbolizer *s = calloc(1, sizeof *s);
    if (s)
        pthread_mutex_init(&s->lock, NULL);
    return s;
}

void cu_symbolizer_close(struct cu_symbolizer *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->nimages; i++) {
        free(s->images[i].symbols.list);
        cu__lines_close(s->images[i].lines);
    }
    for (struct arena_block *b = s->arena.blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(s->images);
    free(s->cache);
    free(s);
}
