/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see trace_model_write.h: what is done once for each thread, coroutine and P.
 */
#include "trace_model_write.h"

#include <stdlib.h>

bool cu__model_add_batch(struct cu__model *model, struct cu__model_m *m)
{
    m->batch = malloc(sizeof(*m->batch));
    if (!m->batch) {
        model->is_failed = true;
        return false;
    }
    m->batch->thread = m->tid;
    m->batch->n = 0;
    m->batch->last = 0;
    return true;
}

void cu__model_introduce_p(struct cu__model *model, struct cu__model_p *p, struct cu__model_m *here)
{
    p->generation = model->generation;
    p->seq = 0;
    COPPER_WRITE(model, p->m ? p->m : here, PROC_STATUS, p->id, p->status);
}

/* A P is always mentioned before the coroutine that runs on it. */
void cu__model_introduce_g(struct cu__model *model, struct cu__model_g *g, struct cu__model_m *here)
{
    g->generation = model->generation;
    g->seq = 0;
    if (g->m && g->m->p) {
        cu__model_mention_p(model, g->m->p, g->m);
    }
    COPPER_WRITE(model, g->m ? g->m : here, GO_STATUS, (uint64_t)g->id, g->m ? g->m->tid : 0,
                 g->status);
}
