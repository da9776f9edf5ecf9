/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see trace_samples.h.
 */
#include "trace_samples.h"

#include "cpu_int.h"
#include "pages.h"
#include "trace_model.h"
#include "trace_record.h"

#include <pthread.h>
#include <string.h>

#define SAMPLES_MAX 4096u

struct sample {
    int64_t now_ns, g;
    int32_t tid;
    unsigned n;
    bool is_cut;
    cu_frame frames[COPPER_TRACE_DEPTH];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sample *samples; /* lock; NULL: none yet */
static unsigned nsamples;      /* lock */
static uint64_t lost;          /* lock */
static const size_t samples_bytes = SAMPLES_MAX * sizeof(struct sample);

void cu__trace_cpu_sample(const struct cu__record *record, const uint64_t *frames, unsigned n,
                          bool is_cut)
{
    if (!cu__trace_is_on()) {
        return;
    }
    pthread_mutex_lock(&lock);
    samples = samples ? samples : cu__pages_map(samples_bytes);
    if (!samples || nsamples == SAMPLES_MAX) {
        lost++;
    } else {
        struct sample *sample = &samples[nsamples++];
        sample->now_ns = (int64_t)record->time_ns;
        sample->g = record->coroutine;
        sample->tid = record->tid;
        sample->n = n < COPPER_TRACE_DEPTH ? n : COPPER_TRACE_DEPTH;
        sample->is_cut = is_cut || n > COPPER_TRACE_DEPTH;
        memcpy(sample->frames, frames, sample->n * sizeof(*frames));
    }
    pthread_mutex_unlock(&lock);
}

uint64_t cu__trace_samples_lost(void)
{
    pthread_mutex_lock(&lock);
    uint64_t n = lost;
    pthread_mutex_unlock(&lock);
    return n;
}

void cu__trace_samples_take(struct cu__model *model)
{
    struct cu__names *names = cu__model_names(model);
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < nsamples; i++) {
        const struct sample *sample = &samples[i];
        uint32_t stack = cu__names_stack(names, sample->frames, sample->n, sample->is_cut);
        stack = cu__names_of(names, stack, cu__model_entry(model, sample->g));
        cu__model_sample(model, sample->now_ns, sample->tid, sample->g, stack);
    }
    nsamples = 0;
    pthread_mutex_unlock(&lock);
}

void cu__trace_samples_clear(void)
{
    pthread_mutex_lock(&lock);
    cu__pages_unmap(samples, samples_bytes);
    samples = NULL;
    nsamples = 0;
    pthread_mutex_unlock(&lock);
}

void cu__trace_samples_forget(void)
{
    pthread_mutex_init(&lock, NULL);
    samples = NULL;
    nsamples = 0;
}
