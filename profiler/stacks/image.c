/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what an ELF image in memory says about itself: where it is, its build-id, where its
 * unwind information is, what it needs.
 *
 * Design. Everything is copied out with cu__read_self, so that an image that vanishes meanwhile
 * gives short reads and not a fault. Whether what was read belongs to one image is decided by the
 * caller.
 */
#include "internal.h"

#include <elf.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#define PHDRS_MAX      64
#define NOTES_MAX      (4u << 10) /* bytes of one note segment looked at */
#define DYNAMIC_MAX    256        /* entries */
#define NEEDED_MAX     256
#define NAME_MAX_BYTES 256
#define SYMBOLS_MAX    (16u << 20) /* bytes of an unlinked image that are kept */

static char *read_name(uint64_t address)
{
    char name[NAME_MAX_BYTES];
    size_t got = cu__read_self(address, name, sizeof name);
    return got && memchr(name, '\0', got) ? strdup(name) : NULL;
}

static void find_build_id(struct cu__image *image, uint64_t at, uint64_t n)
{
    uint8_t notes[NOTES_MAX];
    if (n > sizeof notes)
        n = sizeof notes;
    n = cu__read_self(at, notes, (size_t)n);
    for (uint64_t i = 0; i + sizeof(Elf64_Nhdr) <= n;) {
        Elf64_Nhdr h;
        memcpy(&h, notes + i, sizeof h);
        uint64_t name = i + sizeof h;
        uint64_t desc = name + (((uint64_t)h.n_namesz + 3) & ~3ull);
        uint64_t next = desc + (((uint64_t)h.n_descsz + 3) & ~3ull);
        if (next > n)
            return;
        if (h.n_type == NT_GNU_BUILD_ID && h.n_namesz == 4 && memcmp(notes + name, "GNU", 4) == 0 &&
            h.n_descsz > 0) {
            image->build_id_at = at + desc;
            image->build_id_n = h.n_descsz < COPPER_BUILD_ID_MAX ? h.n_descsz : COPPER_BUILD_ID_MAX;
            memcpy(image->build_id, notes + desc, image->build_id_n);
            return;
        }
        i = next;
    }
}

static void read_segments(struct cu__image *image, const Elf64_Phdr *ph, unsigned n)
{
    uint64_t lo = UINT64_MAX, hi = 0;
    for (unsigned i = 0; i < n; i++) {
        if (ph[i].p_type != PT_LOAD)
            continue;
        if (ph[i].p_vaddr < lo)
            lo = ph[i].p_vaddr;
        if (ph[i].p_vaddr + ph[i].p_memsz > hi)
            hi = ph[i].p_vaddr + ph[i].p_memsz;
    }
    image->bias = image->base - (lo & ~4095ull);
    image->limit = image->bias + ((hi + 4095) & ~4095ull);
    for (unsigned i = 0; i < n; i++) {
        uint64_t at = image->bias + ph[i].p_vaddr;
        if (ph[i].p_type == PT_GNU_EH_FRAME)
            image->hdr = at;
        else if (ph[i].p_type == PT_DYNAMIC)
            image->dynamic = at;
        else if (ph[i].p_type == PT_NOTE && !image->build_id_n)
            find_build_id(image, at, ph[i].p_memsz);
    }
}

/* The loader replaces offsets by addresses, except in the vdso. */
static uint64_t dynamic_address(const struct cu__image *image, uint64_t value)
{
    return value < image->base ? image->bias + value : value;
}

static bool read_dynamic(struct cu__image *image)
{
    Elf64_Dyn dyn[DYNAMIC_MAX];
    uint64_t strings = 0, soname = 0;
    size_t needed = 0;
    bool has_soname = false;
    size_t n = image->dynamic ? cu__read_self(image->dynamic, dyn, sizeof dyn) / sizeof *dyn : 0;
    image->needed = calloc(NEEDED_MAX + 1, sizeof *image->needed);
    if (!image->needed)
        return false;
    for (size_t i = 0; i < n && dyn[i].d_tag != DT_NULL; i++) {
        if (dyn[i].d_tag == DT_STRTAB)
            strings = dynamic_address(image, dyn[i].d_un.d_ptr);
        else if (dyn[i].d_tag == DT_FLAGS_1)
            image->is_nodelete = (dyn[i].d_un.d_val & DF_1_NODELETE) != 0;
        else if (dyn[i].d_tag == DT_SONAME)
            soname = dyn[i].d_un.d_val, has_soname = true;
    }
    for (size_t i = 0; strings && i < n && dyn[i].d_tag != DT_NULL && needed < NEEDED_MAX; i++) {
        if (dyn[i].d_tag != DT_NEEDED)
            continue;
        char *name = read_name(strings + dyn[i].d_un.d_val);
        if (name)
            image->needed[needed++] = name;
    }
    char **fit = realloc(image->needed, (needed + 1) * sizeof *fit);
    if (fit)
        image->needed = fit;
    image->soname = has_soname && strings ? read_name(strings + soname) : NULL;
    if (!image->soname)
        image->soname = strdup("");
    return image->soname != NULL;
}

static bool make_hex(struct cu__image *image)
{
    static const char digits[] = "0123456789abcdef";
    char *hex = malloc(2 * image->build_id_n + 1);
    if (!hex)
        return false;
    for (uint32_t i = 0; i < image->build_id_n; i++) {
        hex[2 * i] = digits[image->build_id[i] >> 4];
        hex[2 * i + 1] = digits[image->build_id[i] & 15];
    }
    hex[2 * image->build_id_n] = '\0';
    image->build_id_hex = hex;
    return true;
}

uint8_t *cu__image_copy(const struct cu__image *image, size_t *n_out)
{
    uint64_t n = image->limit - image->base;
    uint8_t *copy = n <= SYMBOLS_MAX ? calloc(1, n) : NULL;
    for (uint64_t at = 0; copy && at < n;) {
        size_t got = cu__read_self(image->base + at, copy + at, n - at);
        at = got ? at + got : (at + 4096) & ~4095ull; /* holes stay zero */
    }
    *n_out = copy ? n : 0;
    return copy;
}

static struct cu__image *new_image(const struct cu__map *map)
{
    struct cu__image *image = calloc(1, sizeof *image);
    if (!image)
        return NULL;
    image->base = map->start;
    image->limit = map->limit;
    image->dev = map->dev;
    image->inode = map->inode;
    image->is_deleted = map->is_deleted;
    image->path = strdup(map->path);
    if (!image->path) {
        free(image);
        return NULL;
    }
    return image;
}

/* first: the mapping that holds the ELF header. NULL: not an ELF image, or out of memory. */
struct cu__image *cu__image_from_memory(const struct cu__map *first)
{
    Elf64_Ehdr eh;
    Elf64_Phdr ph[PHDRS_MAX];
    if (!cu__read_exactly(&cu__self_memory, first->start, &eh, sizeof eh) ||
        memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0 || eh.e_ident[EI_CLASS] != ELFCLASS64 ||
        eh.e_machine != EM_X86_64 || eh.e_phentsize != sizeof *ph || eh.e_phnum == 0 ||
        eh.e_phnum > PHDRS_MAX ||
        !cu__read_exactly(&cu__self_memory, first->start + eh.e_phoff, ph, eh.e_phnum * sizeof *ph))
        return NULL;
    struct cu__image *image = new_image(first);
    if (!image)
        return NULL;
    image->is_elf = true;
    read_segments(image, ph, eh.e_phnum);
    uint64_t main_phdr = getauxval(AT_PHDR);
    image->is_main = main_phdr >= image->base && main_phdr < image->limit;
    image->is_vdso = strcmp(first->path, "[vdso]") == 0;
    atomic_init(&image->has_no_cfi, image->hdr == 0);
    if (image->limit <= image->base || !read_dynamic(image) || !make_hex(image)) {
        cu__image_free(image);
        return NULL;
    }
    if (image->is_vdso || (image->is_deleted && !image->is_main))
        /* a file without a name can only be symbolized from memory, and only while it is there */
        image->symbols = cu__image_copy(image, &image->symbols_n);
    return image;
}

/* Executable memory that is no ELF image: JIT code, huge-page text, a file of machine code. */
struct cu__image *cu__image_of_code(const struct cu__map *map)
{
    struct cu__image *image = new_image(map);
    if (!image)
        return NULL;
    atomic_init(&image->has_no_cfi, true);
    image->bias = map->start - map->offset;
    if (map->path[0] != '/' || strncmp(map->path, "/memfd:", 7) == 0 ||
        strncmp(map->path, "/dev/", 5) == 0) {
        free(image->path);
        image->path = strdup("[jit]");
        image->is_jit = true;
        image->bias = 0;
        /* code of this kind grows and is split all the time: one image stands for a whole block */
        image->base = map->start & ~(uint64_t)(COPPER_JIT_BLOCK - 1);
        image->limit = (map->limit + COPPER_JIT_BLOCK - 1) & ~(uint64_t)(COPPER_JIT_BLOCK - 1);
    }
    image->soname = strdup("");
    if (!image->path || !image->soname || !make_hex(image)) {
        cu__image_free(image);
        return NULL;
    }
    return image;
}

void cu__image_free(struct cu__image *image)
{
    for (char **name = image->needed; name && *name; name++)
        free(*name);
    free(image->needed);
    free(image->soname);
    free(image->path);
    free(image->build_id_hex);
    free(image->symbols);
    free(image);
}

/* Does memory still show this image? Certain with a build-id, likely without. */
bool cu__image_is_there(const struct cu__image *image)
{
    uint8_t now[COPPER_BUILD_ID_MAX];
    if (!image->is_elf)
        return true;
    if (!image->build_id_n)
        return cu__read_self(image->base, now, SELFMAG) == SELFMAG &&
               memcmp(now, ELFMAG, SELFMAG) == 0;
    return cu__read_self(image->build_id_at, now, image->build_id_n) == image->build_id_n &&
           memcmp(now, image->build_id, image->build_id_n) == 0;
}

struct cu__cfi cu__image_cfi(const struct cu__image *image)
{
    return (struct cu__cfi){&cu__self_memory, image->base, image->limit, image->hdr};
}

/* ---- its file -------------------------------------------------------------------------------- */

static size_t read_file(void *ctx, uint64_t address, void *buf, size_t n)
{
    const struct cu__image_file *f = ctx;
    for (unsigned i = 0; i < f->n; i++) {
        if (address < f->segments[i].start || address >= f->segments[i].limit)
            continue;
        if (n > f->segments[i].limit - address)
            n = (size_t)(f->segments[i].limit - address);
        ssize_t got = pread(f->elf.fd, buf, n,
                            (off_t)(f->segments[i].offset + (address - f->segments[i].start)));
        return got > 0 ? (size_t)got : 0;
    }
    return 0;
}

static bool read_file_segments(struct cu__image_file *f, uint64_t bias)
{
    Elf64_Ehdr eh;
    Elf64_Phdr ph[PHDRS_MAX];
    if (pread(f->elf.fd, &eh, sizeof eh, 0) != (ssize_t)sizeof eh || eh.e_phnum > PHDRS_MAX ||
        eh.e_phentsize != sizeof *ph)
        return false;
    ssize_t want = (ssize_t)(eh.e_phnum * sizeof *ph);
    if (pread(f->elf.fd, ph, (size_t)want, (off_t)eh.e_phoff) != want)
        return false;
    for (unsigned i = 0; i < eh.e_phnum && f->n < COPPER_SEGMENTS_MAX; i++) {
        if (ph[i].p_type != PT_LOAD)
            continue;
        f->segments[f->n].start = bias + ph[i].p_vaddr;
        f->segments[f->n].limit = bias + ph[i].p_vaddr + ph[i].p_filesz;
        f->segments[f->n++].offset = ph[i].p_offset;
    }
    return true;
}

bool cu__image_file_open(struct cu__image_file *f, const struct cu__image *image)
{
    uint8_t id[COPPER_BUILD_ID_MAX];
    memset(f, 0, sizeof *f);
    f->memory = (struct cu__memory){read_file, f};
    if (!image->build_id_n ||
        !cu__elf_open(&f->elf, open(image->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)))
        return false;
    if (cu__elf_build_id(&f->elf, id) == image->build_id_n &&
        memcmp(id, image->build_id, image->build_id_n) == 0 && read_file_segments(f, image->bias))
        return true;
    cu__elf_close(&f->elf);
    return false;
}

void cu__image_file_close(struct cu__image_file *f)
{
    cu__elf_close(&f->elf);
}
