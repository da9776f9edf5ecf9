/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the error group.
 *
 * Design: a wait group, a semaphore for the limit, and a word for the first error. A member leaves
 * its place and its error while it still counts in the wait group, which is told by the end of its
 * coroutine: then the group may be gone.
 */
#include <copper/errgroup.h>
#include <errno.h>
#include <stdlib.h>

#include "at_end.h"
#include "report.h"
#include "schedule.h"
#include "spawn.h"
#include "sync_int.h"

struct group {
    cu_wg wg;        /* first: inspectors take one for the other */
    cu_sem places;   /* while is_limited */
    bool is_limited; /* changes while no member runs */
    int error;       /* any: atomic; the first */
    cu_ctx *ctx;     /* constant while members run; a reference; NULL: none */
};

/* One that runs, on its stack. */
struct member {
    struct cu__at_end at_end;
    struct group *group;
};

struct start {
    struct group *group;
    int (*fn)(void *);
    void *arg;
};

static struct group *inside(cu_group *group)
{
    return (struct group *)(void *)group;
}

static void fail(struct group *group, int error)
{
    int none = 0;
    if (cas_seq(&group->error, &none, error) && group->ctx) {
        cu_ctx_cancel_cause(group->ctx, error < 0 ? error : 0);
    }
}

static void leave(struct group *group, int error)
{
    if (error) {
        fail(group, error);
    }
    if (group->is_limited) {
        cu_sem_release(&group->places, 1);
    }
}

static void coroutine_ends(struct cu__at_end *at_end)
{
    leave(container_of(at_end, struct member, at_end)->group, 0);
}

static void run_member(void *arg)
{
    struct start start = *(struct start *)arg;
    struct member member = {.at_end.run = coroutine_ends, .group = start.group};
    free(arg);
    cu__at_end_push(&member.at_end);
    int error = start.fn(start.arg);
    cu__at_end_pop(&member.at_end);
    leave(start.group, error);
}

/* The caller has a place. */
static int start_member(struct group *group, int (*fn)(void *), void *arg,
                        const struct cu_site *site)
{
    struct cu_go_options options = {COPPER_GO_OPTIONS, .site = site};
    struct start *start = malloc(sizeof(*start));
    cu_id id = -ENOMEM;
    cu_wg_add(&group->wg, 1);
    if (start) {
        *start = (struct start){group, fn, arg};
        id = cu__spawn(&(struct cu__spawn){
            .fn = run_member, .arg = start, .options = &options, .wg = &group->wg});
    }
    if (id < 0) {
        free(start);
        leave(group, (int)id);
        cu_wg_add(&group->wg, -1);
    }
    return id < 0 ? (int)id : 0;
}

int cu_group_go_site(cu_group *public, int (*fn)(void *), void *arg, const struct cu_site *site)
{
    struct group *group = inside(public);
    if (group->is_limited) {
        cu_sem_acquire(&group->places, 1);
    }
    return start_member(group, fn, arg, site);
}

int cu_group_try_go_site(cu_group *public, int (*fn)(void *), void *arg, const struct cu_site *site)
{
    struct group *group = inside(public);
    if (group->is_limited && cu_sem_try_acquire(&group->places, 1)) {
        return -EAGAIN;
    }
    return start_member(group, fn, arg, site);
}

int(cu_group_go)(cu_group *group, int (*fn)(void *), void *arg)
{
    return cu_group_go_site(group, fn, arg, NULL);
}

int(cu_group_try_go)(cu_group *group, int (*fn)(void *), void *arg)
{
    return cu_group_try_go_site(group, fn, arg, NULL);
}

void cu_group_set_limit(cu_group *public, int64_t n)
{
    struct group *group = inside(public);
    int32_t active = cu__wg_active(&group->wg);
    if (active > 0) {
        cu__misuse("limit of the error group at %p changed while %d of its coroutines run",
                   (void *)group, active);
    }
    group->is_limited = n >= 0;
    group->places = (cu_sem){{0}};
    if (n > 0) {
        cu_sem_init(&group->places, n < COPPER_SEM_MAX ? n : COPPER_SEM_MAX);
    }
}

int cu_group_wait(cu_group *public)
{
    struct group *group = inside(public);
    struct cu__wait why = {
        .reason = COPPER_WAIT_GROUP_WAIT, .kind = COPPER_OBJECT_GROUP, .object = group};
    cu__wg_wait(&group->wg, &why, NULL);
    if (group->ctx) {
        cu_ctx_end(group->ctx);
        group->ctx = NULL;
    }
    return load_acquire(&group->error);
}

cu_ctx *cu_group_with_ctx(cu_group *public, cu_ctx *parent)
{
    struct group *group = inside(public);
    if (group->ctx) {
        cu__misuse("cu_group_with_ctx for the error group at %p, which has a context",
                   (void *)group);
    }
    group->ctx = cu_ctx_with_cancel(parent);
    return group->ctx;
}

_Static_assert(sizeof(struct group) <= sizeof(cu_group), "the public size is fixed");
