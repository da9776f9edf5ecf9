/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: follow modules as they come and go, and have unwind tables ready before a walk needs
 * them.
 *
 * Design. The list of mappings is /proc/self/maps: no loader lock is taken, code that no loader
 * knows is seen too. Whether anything changed is first asked of the loader's public list, whose
 * entries are copied out as data. A scan is read the maps -> name an image for each executable
 * mapping -> publish -> make tables and what it saw is verified for the epoch if no dlclose
 * happened or was under way meanwhile. Tables are shared by build-id, so a library that is loaded
 * again costs nothing.
 *
 * Permanent images, which no dlclose can unload, are: the main program, the vdso, what the loader
 * had placed when it placed itself, what these need by name, and what is linked with nodelete.
 *
 * Concurrency. One lock for everything here, held across fork so that a child finds it free.
 */
#include "internal.h"

#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define LOADED_MAX   4096
#define LOADED_BATCH 256
/* Code that no loader knows is looked for this often at most, ... */
#define RESCAN_AFTER_NS   100000000ll
#define RESCAN_COST_RATIO 1000 /* ... and never for more than 0.1 % of the time */
#define GONE_MAX          64   /* vanished modules that keep their range */
#define BUCKETS           4096u

struct loaded {
    uint64_t at; /* address of the loader's entry */
    struct link_map entry;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* all below, lock: lock */
static struct cu__image *buckets[BUCKETS]; /* all images by address, the latest first */
static size_t nimages;
static struct cu__image *owners; /* of tables: one of each build that has one */
static struct loaded loaded[LOADED_MAX];
static size_t nloaded;
static uint32_t last_epoch;
static int64_t last_scan_ns, last_scan_cost_ns;
static _Atomic uint64_t total_ns, total_refused;

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- what the loader says -------------------------------------------------------------------- */

/* Copies the loader's list of objects, entry by entry. May be torn while the loader works: a hint.
 */
static void read_loaded(void)
{
    uint64_t at = (uint64_t)(uintptr_t)_r_debug.r_map;
    for (nloaded = 0; at && nloaded < LOADED_MAX; nloaded++) {
        struct loaded *l = &loaded[nloaded];
        l->at = at;
        if (cu__read_self(at, &l->entry, sizeof l->entry) != sizeof l->entry)
            break;
        at = (uint64_t)(uintptr_t)l->entry.l_next;
    }
}

/* Are the entries as they were? Their bytes come in few system calls, because it is known where
 * they were. An entry more hangs on the last one's l_next. */
static bool is_loaded_unchanged(void)
{
    static struct link_map now[LOADED_BATCH];
    struct iovec remote[LOADED_BATCH];
    if (!nloaded || loaded[0].at != (uint64_t)(uintptr_t)_r_debug.r_map)
        return false;
    for (size_t done = 0; done < nloaded;) {
        size_t n = nloaded - done < LOADED_BATCH ? nloaded - done : LOADED_BATCH;
        struct iovec local = {now, n * sizeof *now};
        for (size_t i = 0; i < n; i++)
            remote[i] = (struct iovec){(void *)(uintptr_t)loaded[done + i].at, sizeof *now};
        if (process_vm_readv(getpid(), &local, 1, remote, n, 0) != (ssize_t)local.iov_len)
            return false;
        for (size_t i = 0; i < n; i++)
            if (memcmp(&now[i], &loaded[done + i].entry, sizeof *now) != 0)
                return false;
        done += n;
    }
    return true;
}

/* ---- which images cannot be unloaded --------------------------------------------------------- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool is_permanent(const struct cu__image *image)
{
    return atomic_load_explicit(&image->is_permanent, memory_order_relaxed);
}

static void set_permanent(struct cu__image *image)
{
    atomic_store_explicit(&image->is_permanent, true, memory_order_relaxed);
}

/* The only live image of this name; NULL: none, or several. */
static struct cu__image *image_named(const struct cu__range *live, size_t n, const char *name)
{
    struct cu__image *found = NULL;
    for (size_t i = 0; i < n; i++) {
        struct cu__image *image = live[i].module->image;
        if (!image->is_elf || image == found)
            continue;
        if (strcmp(image->soname, name) != 0 && strcmp(base_name(image->path), name) != 0)
            continue;
        if (found)
            return NULL;
        found = image;
    }
    return found;
}

/* The loader's list begins with what the program was started with, up to the loader itself. */
static void mark_initial(const struct cu__range *live, size_t n)
{
    uint64_t loader = getauxval(AT_BASE);
    size_t last = nloaded;
    for (size_t i = 0; i < nloaded; i++)
        if (loader && loaded[i].entry.l_addr == loader)
            last = i;
    for (size_t i = 0; i <= last && last < nloaded; i++)
        for (size_t k = 0; k < n; k++)
            if (live[k].module->image->dynamic == (uint64_t)(uintptr_t)loaded[i].entry.l_ld &&
                loaded[i].entry.l_ld)
                set_permanent(live[k].module->image);
}

static void mark_permanent(const struct cu__range *live, size_t n)
{
    mark_initial(live, n);
    for (size_t i = 0; i < n; i++) {
        struct cu__image *image = live[i].module->image;
        if (image->is_main || image->is_vdso || image->is_nodelete)
            set_permanent(image);
    }
    for (bool is_changed = true; is_changed;) {
        is_changed = false;
        for (size_t i = 0; i < n; i++) {
            struct cu__image *image = live[i].module->image;
            if (!image->needed || !is_permanent(image))
                continue;
            for (char **name = image->needed; *name; name++) {
                struct cu__image *other = image_named(live, n, *name);
                if (other && !is_permanent(other)) {
                    set_permanent(other);
                    is_changed = true;
                }
            }
        }
    }
}

/* ---- images ---------------------------------------------------------------------------------- */

/* Blocks of JIT code are few, and found by more than where they begin: they have one of their own.
 */
static struct cu__image **bucket_of(uint64_t base, bool is_jit)
{
    return &buckets[is_jit ? 0 : 1 + (base >> 12) % (BUCKETS - 1)];
}

/* An image we know that is what this mapping shows. */
static struct cu__image *known_image(const struct cu__map *first)
{
    for (struct cu__image *image = *bucket_of(first->start, false); image; image = image->next)
        if (image->is_elf && image->base == first->start && image->dev == first->dev &&
            image->inode == first->inode && strcmp(image->path, first->path) == 0 &&
            cu__image_is_there(image))
            return image;
    return NULL;
}

static struct cu__image *known_code(const struct cu__map *map, const struct cu__image *like)
{
    struct cu__image *image = *bucket_of(map->start, like->is_jit);
    for (; image; image = image->next) {
        if (image->is_elf || image->is_jit != like->is_jit)
            continue;
        if (image->is_jit && image->base <= map->start && image->limit >= map->limit)
            return image;
        if (!image->is_jit && image->base == map->start && image->limit == map->limit &&
            image->inode == map->inode && image->dev == map->dev &&
            strcmp(image->path, map->path) == 0)
            return image;
    }
    return NULL;
}

/* The path came from the maps, the build-id from memory a moment later. If libraries were closed
 * meanwhile the two may be of different ones: the file itself must confirm that they belong
 * together. */
static bool is_one_file(const struct cu__image *image, uint64_t word)
{
    struct cu__image_file file;
    if (image->is_vdso || (cu__epoch_is_quiet(word) && cu__epoch_word() == word))
        return true;
    if (!cu__image_file_open(&file, image))
        return false;
    cu__image_file_close(&file);
    return true;
}

static struct cu__image *new_image(const struct cu__map *first, uint64_t word)
{
    struct cu__image *image = cu__image_from_memory(first);
    if (image && !is_one_file(image, word)) {
        cu__image_free(image);
        image = NULL;
    }
    return image;
}

static struct cu__image *keep(struct cu__image *image)
{
    if (!image)
        return NULL;
    struct cu__image **bucket = bucket_of(image->base, image->is_jit);
    image->next = *bucket;
    *bucket = image;
    nimages++;
    return image;
}

/* Every image stays, so there is an end to them. What comes then is no module: stacks show its
 * addresses, and libunwind unwinds it. */
static bool has_room(void)
{
    bool has = nimages < COPPER_MODULES_MAX && cu__modules_count() < COPPER_MODULES_MAX;
    if (!has)
        atomic_fetch_add_explicit(&total_refused, 1, memory_order_relaxed);
    return has;
}

/* The mapping that has the ELF header of the file that map i shows. */
static const struct cu__map *first_mapping(const struct cu__maps *maps, size_t i)
{
    const struct cu__map *m = &maps->list[i];
    if (strcmp(m->path, "[vdso]") == 0)
        return m;
    if (m->inode == 0)
        return NULL;
    for (size_t k = i + 1; k-- > 0;) {
        const struct cu__map *before = &maps->list[k];
        if (before->inode == m->inode && before->dev == m->dev && before->offset == 0 &&
            strcmp(before->path, m->path) == 0)
            return before;
    }
    return NULL;
}

static struct cu__image *image_for(const struct cu__maps *maps, size_t i,
                                   const struct cu__range *before, size_t nbefore, uint64_t word)
{
    const struct cu__map *m = &maps->list[i];
    const struct cu__map *first = first_mapping(maps, i);
    if (first) {
        struct cu__image *image = known_image(first);
        if (!image && !has_room())
            return NULL;
        if (!image)
            image = keep(new_image(first, word));
        if (image && m->start >= image->base && m->limit <= image->limit)
            return image;
        if (!image && (!cu__epoch_is_quiet(word) || cu__epoch_word() != word))
            return NULL; /* it changes under our eyes: the next scan will tell */
    }
    /* text that was moved to huge pages is anonymous memory inside its image */
    for (size_t k = nbefore; m->inode == 0 && k-- > 0;) {
        struct cu__image *image = before[k].module->image;
        if (image->is_elf && m->start >= image->base && m->limit <= image->limit)
            return image;
    }
    struct cu__image *code = cu__image_of_code(m);
    struct cu__image *image = code ? known_code(m, code) : NULL;
    if (!image && has_room())
        return keep(code);
    if (code)
        cu__image_free(code);
    return image;
}

/* ---- tables ---------------------------------------------------------------------------------- */

static struct cu__table *table_of_same_build(const struct cu__image *image)
{
    const struct cu__image *other = image->build_id_n ? owners : NULL;
    for (; other; other = other->next_owner)
        if (other->build_id_n == image->build_id_n &&
            other->limit - other->base == image->limit - image->base &&
            memcmp(other->build_id, image->build_id, image->build_id_n) == 0)
            return atomic_load_explicit(&other->table, memory_order_relaxed);
    return NULL;
}

/* Can what is read from memory now be of some other image before we are done? */
static bool may_vanish(const struct cu__image *image, uint64_t word)
{
    return !is_permanent(image) && (!cu__epoch_is_quiet(word) || cu__epoch_word() != word);
}

/* From memory if it stood still meanwhile, else from the file. */
static struct cu__table *make_table(const struct cu__image *image, int *err)
{
    uint64_t word = cu__epoch_word();
    struct cu__cfi cfi = cu__image_cfi(image);
    struct cu__image_file file;
    struct cu__table *t = cu__table_make(&cfi, err);
    if (!may_vanish(image, word))
        return t;
    cu__table_free(t);
    *err = 0;
    if (!cu__image_file_open(&file, image))
        return NULL;
    cfi.memory = &file.memory;
    t = cu__table_make(&cfi, err);
    cu__image_file_close(&file);
    return t;
}

static int give_table(struct cu__image *image)
{
    int err = 0;
    if (!image->is_elf || atomic_load_explicit(&image->has_no_cfi, memory_order_relaxed) ||
        atomic_load_explicit(&image->table, memory_order_relaxed))
        return 0;
    struct cu__table *t = table_of_same_build(image);
    if (!t && (t = make_table(image, &err))) {
        image->next_owner = owners;
        owners = image;
    }
    if (!t && err == -ENOENT)
        atomic_store_explicit(&image->has_no_cfi, true, memory_order_release);
    atomic_store_explicit(&image->table, t, memory_order_release);
    return err == -ENOMEM ? err : 0;
}

/* Makes chunk number `chunk` of a huge image. Walkers see it at once, so what may vanish is read
 * from its file only. */
static bool fill_chunk(const struct cu__image *image, struct cu__table *t, uint32_t chunk)
{
    struct cu__cfi cfi = cu__image_cfi(image);
    struct cu__image_file file;
    if (is_permanent(image))
        return cu__table_fill(t, &cfi, chunk);
    if (!cu__image_file_open(&file, image))
        return false;
    cfi.memory = &file.memory;
    bool is_made = cu__table_fill(t, &cfi, chunk);
    cu__image_file_close(&file);
    return is_made;
}

static void fill_wanted(const struct cu__range *live, size_t n)
{
    if (!atomic_exchange_explicit(&cu__chunks_wanted, 0, memory_order_relaxed))
        return;
    for (size_t i = 0; i < n; i++) {
        struct cu__image *image = live[i].module->image;
        struct cu__table *t = atomic_load_explicit(&image->table, memory_order_acquire);
        for (uint32_t c = 0; t && t->nfdes > COPPER_FDES_EAGER_MAX && c < t->nchunks; c++)
            if (atomic_exchange_explicit(&t->wanted[c], 0, memory_order_relaxed))
                fill_chunk(image, t, c);
    }
}

bool cu__prepare_chunk(const struct cu__module *m, uint64_t pc)
{
    struct cu__table *t = atomic_load_explicit(&m->image->table, memory_order_acquire);
    if (!t || pc - m->image->base > UINT32_MAX)
        return false;
    pthread_mutex_lock(&lock);
    uint32_t chunk = cu__table_chunk_of_sig(t, (uint32_t)(pc - m->image->base));
    bool was_there = atomic_load_explicit(&t->chunks[chunk], memory_order_relaxed) != NULL;
    bool is_made = !was_there && fill_chunk(m->image, t, chunk);
    pthread_mutex_unlock(&lock);
    return is_made;
}

/* ---- the scan -------------------------------------------------------------------------------- */

static size_t collect(const struct cu__maps *maps, struct cu__range *out, uint64_t word)
{
    size_t n = 0;
    for (size_t i = 0; i < maps->n; i++) {
        const struct cu__map *m = &maps->list[i];
        if (!m->is_exec || m->start >= COPPER_PC_LIMIT)
            continue;
        struct cu__image *image = image_for(maps, i, out, n, word);
        if (!image)
            continue;
        struct cu__module *module = image->is_jit
                                        ? cu__module_add(image, image->base, image->limit, 0)
                                        : cu__module_add(image, m->start, m->limit, m->offset);
        if (module)
            out[n++] = (struct cu__range){m->start, m->limit, module};
    }
    return n;
}

static bool overlaps(const struct cu_module *m, uint64_t start, uint64_t limit)
{
    return m->start < limit && start < m->limit;
}

/* Modules that went and left their range free are put behind the n live ones; those whose range was
 * taken are put behind who took it. Returns how many ranges were added. */
static size_t add_gone(struct cu__range *ranges, size_t n)
{
    size_t added = 0, looked_at = 0;
    uint32_t id = cu__modules_count() + 1;
    while (--id > 0 && added < GONE_MAX && looked_at++ < GONE_MAX + n) {
        struct cu__module *gone = (struct cu__module *)cu__module_get(id);
        struct cu__module *heir = NULL;
        if (!gone->image->is_elf || !gone->image->build_id_n || is_permanent(gone->image))
            continue;
        for (size_t i = 0; i < n + added && heir != gone; i++)
            if (overlaps(&gone->public, ranges[i].start, ranges[i].limit))
                heir = ranges[i].module;
        if (heir == gone)
            continue; /* it is there */
        atomic_store_explicit(&gone->image->verified, 0, memory_order_release);
        if (heir)
            atomic_store_explicit(&heir->other, gone, memory_order_release);
        else
            ranges[n + added++] = (struct cu__range){gone->public.start, gone->public.limit, gone};
    }
    return added;
}

static void verify(const struct cu__range *live, size_t n, uint64_t word)
{
    if (!cu__epoch_is_quiet(word) || cu__epoch_word() != word)
        return;
    for (size_t i = 0; i < n; i++)
        atomic_store_explicit(&live[i].module->image->verified, (uint32_t)word,
                              memory_order_release);
}

static int scan(void)
{
    struct cu__maps maps;
    int64_t start = now_ns();
    uint64_t word = cu__epoch_word();
    int err = cu__maps_read(&maps);
    if (err)
        return err;
    struct cu__range *live = calloc(maps.n + 1 + GONE_MAX, sizeof *live);
    if (!live) {
        cu__maps_free(&maps);
        return -ENOMEM;
    }
    atomic_store_explicit(&cu__is_unknown_seen, false, memory_order_relaxed);
    size_t n = collect(&maps, live, word);
    mark_permanent(live, n);
    verify(live, n, word);
    err = cu__modules_publish(live, n + add_gone(live, n));
    last_scan_cost_ns = now_ns() - start; /* tables are made once, looking is repeated */
    for (size_t i = 0; i < n; i++) {
        int failed = give_table(live[i].module->image);
        err = err ? err : failed;
    }
    fill_wanted(live, n);
    free(live);
    cu__maps_free(&maps);
    return err;
}

static bool is_scan_due(int64_t now)
{
    int64_t pause = last_scan_cost_ns * RESCAN_COST_RATIO;
    if (pause < RESCAN_AFTER_NS)
        pause = RESCAN_AFTER_NS;
    return last_scan_ns == 0 || cu_modules_epoch_sig() != last_epoch || !is_loaded_unchanged() ||
           atomic_load_explicit(&cu__chunks_wanted, memory_order_relaxed) ||
           (atomic_load_explicit(&cu__is_unknown_seen, memory_order_relaxed) &&
            now - last_scan_ns >= pause);
}

int cu_stacks_prepare(void)
{
    int err = 0;
    pthread_mutex_lock(&lock);
    int64_t start = now_ns();
    if (is_scan_due(start)) {
        uint32_t epoch = cu_modules_epoch_sig();
        read_loaded();
        err = scan();
        last_epoch = epoch;
        last_scan_ns = now_ns();
        atomic_fetch_add_explicit(&total_ns, (uint64_t)(last_scan_ns - start),
                                  memory_order_relaxed);
    }
    pthread_mutex_unlock(&lock);
    return err;
}

/* ---- fork, figures --------------------------------------------------------------------------- */

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void watch_fork(void)
{
    pthread_atfork(before_fork, after_fork, after_fork);
}

void cu__prepare_stats(struct cu_stacks_stats *out)
{
    cu__table_stats(&out->rows, &out->table_bytes);
    out->prepare_ns = atomic_load_explicit(&total_ns, memory_order_relaxed);
    out->modules = cu__modules_count();
    out->modules_refused = atomic_load_explicit(&total_refused, memory_order_relaxed);
}

void cu_stacks_stats_read(struct cu_stacks_stats *out)
{
    memset(out, 0, sizeof *out);
    cu__prepare_stats(out);
    cu__unwound_stats(out);
}
