/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: cu_deadlocks_check: coroutines that wait for each other in a circle, or for somebody who
 * will never come, while the rest of the program goes on.
 *
 * Design: a graph of what must happen before a coroutine can go on. There are two kinds of edges
 * that are certain, if each lock is given back by who took it and each wait group counts right:
 *   - from who waits for a (rw)mutex to the coroutine that holds it
 *   - from who waits for a wait group to each coroutine that was started by cu_wg_go on it
 * A coroutine without a deadline from which such edges lead in a circle, or to a coroutine that can
 * never go on (it waits on a NULL channel, or in a select without cases) or has ended, is stuck.
 * What only somebody unknown could do (channels, conditions, semaphores) makes no edge: nothing is
 * reported that is not so, and what is not reported may be stuck nevertheless.
 *
 * Soundness: coroutines are looked at one after the other, not at one moment. A circle counts only
 * when a second walk finds it again, of the same waits. A wait is known by coroutine, object and
 * since when; the latter is a clock that is up to one kernel tick late, so only waits older than
 * several ticks are looked at: had one ended between the walks, the next would have a later time.
 * So each waited from before the first walk until the second, and each edge, seen in between, was
 * true as long as both its ends waited: an owner that waits gives no lock back, and one that has
 * not ended keeps its wait group from being done.
 */
#include <copper/debug.h>
#include <copper/inspect.h>
#include <copper/time.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cycles.h"
#include "dump.h"
#include "registry.h"
#include "report.h"

#define OLD_NS       (50 * COPPER_MS)
#define REPORTED_MAX 1024u

struct node {
    cu_id id;
    const void *object; /* waited for; NULL: it does not wait for a lock or wait group */
    enum cu_object_kind kind;
    cu_id owner;       /* of the lock */
    const void *joins; /* the wait group that its end counts in */
    int64_t since_ns;
    bool is_lost; /* can never go on by itself */
    uint8_t colour;
    uint32_t next_member; /* next in order of `joins`, while it is being searched */
};
enum { WHITE = 0, ON_PATH = 1, DONE = 2 };

struct graph {
    struct node *nodes; /* in order of id */
    uint32_t *members;  /* nodes with a `joins`, in its order */
    uint32_t *path;
    uint32_t count, cap, members_count, path_length;
    int64_t before_ns; /* waits that began later are not looked at */
    bool is_out_of_memory;
};

/* Circles by their key, see key_of. */
struct keys {
    uint64_t at[REPORTED_MAX];
    uint32_t count;
};

static struct {
    pthread_mutex_t lock;
    struct keys reported; /* lock; the oldest are forgotten */
} checker = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- the graph ---- */

static bool is_lost(const struct cu_g_info *g)
{
    return g->reason == COPPER_WAIT_CHAN_RECV_NIL || g->reason == COPPER_WAIT_CHAN_SEND_NIL ||
           g->reason == COPPER_WAIT_SELECT_NO_CASES;
}

static bool add_node(const struct cu_g_info *g, void *arg)
{
    struct graph *graph = arg;
    bool waits =
        g->state == COPPER_G_WAITING && g->deadline_ns == 0 && g->since_ns < graph->before_ns;
    bool for_somebody = waits && (g->object.owner != 0 || g->object.kind == COPPER_OBJECT_WG);
    if (!for_somebody && !g->joins && !(waits && is_lost(g))) {
        return true;
    }
    if (graph->count == graph->cap) {
        uint32_t cap = graph->cap ? 2 * graph->cap : 256;
        struct node *more = realloc(graph->nodes, cap * sizeof(*more));
        if (more == NULL) {
            graph->is_out_of_memory = true;
            return false;
        }
        graph->nodes = more;
        graph->cap = cap;
    }
    graph->nodes[graph->count++] = (struct node){.id = g->id,
                                                 .object = for_somebody ? g->object.address : NULL,
                                                 .kind = g->object.kind,
                                                 .owner = for_somebody ? g->object.owner : 0,
                                                 .joins = g->joins,
                                                 .since_ns = g->since_ns,
                                                 .is_lost = waits && is_lost(g)};
    return true;
}

static int by_id(const void *a, const void *b)
{
    const struct node *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static int by_group(const void *a, const void *b, void *nodes)
{
    const struct node *all = nodes;
    uintptr_t x = (uintptr_t)all[*(const uint32_t *)a].joins;
    uintptr_t y = (uintptr_t)all[*(const uint32_t *)b].joins;
    return (x > y) - (x < y);
}

static void graph_free(struct graph *graph)
{
    free(graph->nodes);
    free(graph->members);
    free(graph->path);
}

static int graph_make(struct graph *graph, int64_t before_ns)
{
    *graph = (struct graph){.before_ns = before_ns};
    cu_inspect_each(add_node, graph);
    graph->members = malloc((graph->count + 1) * sizeof(uint32_t));
    graph->path = malloc((graph->count + 1) * sizeof(uint32_t));
    if (graph->is_out_of_memory || graph->members == NULL || graph->path == NULL) {
        graph_free(graph);
        return -ENOMEM;
    }
    if (graph->count) {
        qsort(graph->nodes, graph->count, sizeof(struct node), by_id);
    }
    for (uint32_t i = 0; i < graph->count; i++) {
        if (graph->nodes[i].joins) {
            graph->members[graph->members_count++] = i;
        }
    }
    qsort_r(graph->members, graph->members_count, sizeof(uint32_t), by_group, graph->nodes);
    return 0;
}

static struct node *find_node(struct graph *graph, cu_id id)
{
    struct node wanted = {.id = id};
    return graph->count ? bsearch(&wanted, graph->nodes, graph->count, sizeof(wanted), by_id)
                        : NULL;
}

/* The first place among members whose group is not below `group`. */
static uint32_t find_members(const struct graph *graph, const void *group)
{
    uint32_t low = 0, high = graph->members_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if ((uintptr_t)graph->nodes[graph->members[middle]].joins < (uintptr_t)group) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* ---- the search ---- */

/* One that ended can neither give a lock back nor ever run again. */
static bool has_ended(cu_id id)
{
    return load_acquire(&cu__registry_slot(cu__registry_index(id))->id) != id;
}

/* The next that n waits for; NULL: no more. *ended: it holds n's lock and has ended. */
static struct node *next_edge(struct graph *graph, struct node *n, cu_id *ended)
{
    uint32_t at = n->next_member++;
    if (n->object == NULL) {
        return NULL;
    }
    if (n->kind != COPPER_OBJECT_WG) {
        struct node *owner = at == 0 ? find_node(graph, n->owner) : NULL;
        if (at == 0 && owner == NULL && has_ended(n->owner)) {
            *ended = n->owner;
        }
        return owner;
    }
    at += find_members(graph, n->object);
    if (at >= graph->members_count) {
        return NULL;
    }
    struct node *member = &graph->nodes[graph->members[at]];
    return member->joins == n->object ? member : NULL;
}

/* What was found: the part of the path from `first` on, and who they all wait for in the end. */
struct found {
    const struct graph *graph;
    uint32_t first;
    cu_id ended; /* 0: the first of the path, or one that is lost, which is then the last */
};

/* Depth first, from one that waits. Calls report for each circle and each dead end. */
static void search(struct graph *graph, struct node *from,
                   void (*report)(const struct found *, void *), void *arg)
{
    graph->path[0] = (uint32_t)(from - graph->nodes);
    graph->path_length = 1;
    from->colour = ON_PATH;
    while (graph->path_length) {
        struct node *n = &graph->nodes[graph->path[graph->path_length - 1]];
        cu_id ended = 0;
        struct node *to = next_edge(graph, n, &ended);
        if (to == NULL) {
            if (ended) {
                report(&(struct found){graph, graph->path_length - 1, ended}, arg);
            }
            n->colour = DONE;
            graph->path_length--;
        } else if (to->colour == ON_PATH) {
            uint32_t first = graph->path_length - 1;
            while (&graph->nodes[graph->path[first]] != to) {
                first--;
            }
            report(&(struct found){graph, first, 0}, arg);
        } else if (to->colour == WHITE) {
            to->colour = ON_PATH;
            graph->path[graph->path_length++] = (uint32_t)(to - graph->nodes);
            if (to->is_lost) {
                report(&(struct found){graph, graph->path_length - 2, 0}, arg);
            }
        }
    }
}

static void search_all(struct graph *graph, void (*report)(const struct found *, void *), void *arg)
{
    for (uint32_t i = 0; i < graph->count; i++) {
        if (graph->nodes[i].colour == WHITE && graph->nodes[i].object) {
            search(graph, &graph->nodes[i], report, arg);
        }
    }
}

/* ---- reporting ---- */

static uint64_t hash_node(const struct node *n)
{
    uint64_t h = (uint64_t)n->id * 0x9E3779B97F4A7C15u;
    h = (h ^ (uint64_t)(uintptr_t)n->object) * 0xBF58476D1CE4E5B9u;
    h = (h ^ (uint64_t)n->since_ns) * 0x94D049BB133111EBu;
    return h ^ (h >> 31);
}

/* The same for the same waits, wherever the circle was entered. */
static uint64_t key_of(const struct found *found)
{
    uint64_t key = (uint64_t)found->ended;
    for (uint32_t i = found->first; i < found->graph->path_length; i++) {
        key += hash_node(&found->graph->nodes[found->graph->path[i]]);
    }
    return key;
}

static bool has_key(const struct keys *keys, uint64_t key)
{
    uint32_t count = keys->count < REPORTED_MAX ? keys->count : REPORTED_MAX;
    for (uint32_t i = 0; i < count; i++) {
        if (keys->at[i] == key) {
            return true;
        }
    }
    return false;
}

static void add_key(struct keys *keys, uint64_t key)
{
    keys->at[keys->count++ % REPORTED_MAX] = key;
}

static void suspect(const struct found *found, void *arg)
{
    uint64_t key = key_of(found);
    if (!has_key(&checker.reported, key)) {
        add_key(arg, key);
    }
}

struct telling {
    struct cu__text text;
    struct keys *suspects;
    int count;
    const struct found *found; /* while its members are dumped */
};

static bool dump_member(const struct cu_g_info *g, void *arg)
{
    struct telling *telling = arg;
    const struct found *found = telling->found;
    for (uint32_t i = found->first; i < found->graph->path_length; i++) {
        if (found->graph->nodes[found->graph->path[i]].id == g->id) {
            cu__dump_coroutine(&telling->text, g, cu_now());
        }
    }
    return true;
}

static void tell_edge(struct cu__text *t, const struct node *n, cu_id waited_for, const char *how)
{
    cu__text_add(t, "  coroutine ");
    cu__text_number(t, (uint64_t)n->id, 10);
    cu__text_add(t, n->kind == COPPER_OBJECT_WG ? " waits for the end of coroutine "
                                                : " waits for a lock held by coroutine ");
    cu__text_number(t, (uint64_t)waited_for, 10);
    cu__text_add(t, how);
    cu__text_add(t, "\n");
}

static void tell(const struct found *found, void *arg)
{
    struct telling *telling = arg;
    const struct graph *graph = found->graph;
    struct cu__text *t = &telling->text;
    uint64_t key = key_of(found);
    if (!has_key(telling->suspects, key) || has_key(&checker.reported, key)) {
        return;
    }
    add_key(&checker.reported, key);
    telling->count++;
    const struct node *last = &graph->nodes[graph->path[graph->path_length - 1]];
    bool is_circle = found->ended == 0 && !last->is_lost;
    cu__text_add(t, is_circle
                        ? "copper: deadlock: coroutines wait for each other\n"
                        : "copper: deadlock: a coroutine waits for one that will never go on\n");
    for (uint32_t i = found->first; i < graph->path_length; i++) {
        const struct node *n = &graph->nodes[graph->path[i]];
        if (i + 1 < graph->path_length) {
            const struct node *next = &graph->nodes[graph->path[i + 1]];
            tell_edge(t, n, next->id, next->is_lost ? ", which waits for ever" : "");
        } else if (found->ended) {
            tell_edge(t, n, found->ended, ", which has ended");
        } else if (is_circle) {
            tell_edge(t, n, graph->nodes[graph->path[found->first]].id, "");
        }
    }
    cu__text_add(t, "\n");
    telling->found = found;
    cu_inspect_each(dump_member, telling);
}

int cu_deadlocks_check(int fd)
{
    struct keys suspects = {.count = 0};
    struct telling telling = {.text = {.fd = fd}, .suspects = &suspects};
    struct graph first, second;
    int64_t before_ns = cu_now() - OLD_NS;
    pthread_mutex_lock(&checker.lock);
    int error = graph_make(&first, before_ns);
    if (error == 0) {
        search_all(&first, suspect, &suspects);
        graph_free(&first);
    }
    if (error == 0 && suspects.count) {
        error = graph_make(&second, before_ns);
        if (error == 0) {
            search_all(&second, tell, &telling);
            graph_free(&second);
            cu__text_flush(&telling.text);
            cu__print_end(fd);
        }
    }
    pthread_mutex_unlock(&checker.lock);
    return error ? error : telling.count;
}

void cu__cycles_after_fork(void)
{
    pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
    memcpy(&checker.lock, &fresh, sizeof(fresh));
    checker.reported.count = 0;
}
