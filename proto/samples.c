/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the samples of a profile: labels, stacks and label sets interned, values added up.
 *
 * Design: a sample is a pair (stack, label set). A label set is a sorted sequence of label ids, so
 * the order in which labels are given does not matter.
 */
#include "profile.h"

#include "hash.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- labels -------------------------------------------------------------------------------- */

static bool is_equal_label(const void *ctx, uint32_t id, const void *key)
{
    const struct cu_pprof *p = ctx;
    const struct cu__label *a = &p->labels[id - 1], *b = key;
    return a->key == b->key && a->str == b->str && a->num == b->num && a->unit == b->unit;
}

uint32_t cu__intern_label(struct cu_pprof *p, const struct cu__label *label)
{
    if (p->error)
        return 0;
    uint64_t seed = cu__hash_word(cu__hash_seed(), (uint64_t)label->key << 32 | label->str);
    seed = cu__hash_word(seed, (uint64_t)label->num);
    uint32_t hash = cu__hash_end(cu__hash_word(seed, label->unit));
    uint32_t id = cu__index_find(&p->label_index, hash, is_equal_label, p, label);
    int err;
    if (id)
        return id;
    if (p->nlabels >= COPPER_PPROF_IDS_MAX)
        return cu__fail(p, -EOVERFLOW);
    if ((err = cu__reserve(&p->labels, &p->labels_cap, p->nlabels + 1, sizeof *label)) ||
        (err = cu__index_reserve(&p->label_index)))
        return cu__fail(p, err);
    p->labels[p->nlabels++] = *label;
    id = (uint32_t)p->nlabels;
    cu__index_add(&p->label_index, hash, id);
    return id;
}

static uint32_t intern_public_label(struct cu_pprof *p, const struct cu_pprof_label *label)
{
    struct cu__label record = {.key = cu__string(p, label->key)};
    if (label->str) {
        record.str = cu__string(p, label->str);
        return cu__intern_label(p, &record);
    }
    record.num = label->num;
    record.unit = cu__string(p, label->unit);
    /* 0 without a unit is on the wire what no value is; a key is its number's implied unit */
    if (record.num == 0 && record.unit == 0)
        record.unit = record.key;
    return cu__intern_label(p, &record);
}

static int compare_ids(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* --- samples ------------------------------------------------------------------------------- */

static bool is_equal_sample(const void *ctx, uint32_t id, const void *key)
{
    const struct cu_pprof *p = ctx;
    const struct cu__sample *a = &p->samples[id - 1], *b = key;
    return a->stack == b->stack && a->labels == b->labels;
}

static uint32_t hash_sample(const struct cu__sample *sample)
{
    uint64_t word = (uint64_t)sample->stack << 32 | sample->labels;
    return cu__hash_end(cu__hash_word(cu__hash_seed(), word));
}

/* A sum that does not fit stays at the end of the range. */
static void add_values(int64_t *sum, const int64_t *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (__builtin_add_overflow(sum[i], values[i], &sum[i]))
            sum[i] = values[i] < 0 ? INT64_MIN : INT64_MAX;
}

static int append_sample(struct cu_pprof *p, const struct cu__sample *sample, uint32_t hash,
                         const int64_t *values)
{
    int err;
    if (p->nsamples >= COPPER_PPROF_IDS_MAX)
        return -EOVERFLOW;
    if ((err = cu__reserve(&p->samples, &p->samples_cap, p->nsamples + 1, sizeof *sample)) ||
        (err = cu__reserve(&p->values, &p->values_cap, (p->nsamples + 1) * p->ntypes,
                           sizeof *values)) ||
        (err = cu__index_reserve(&p->sample_index)))
        return err;
    if (p->ntypes)
        memcpy(p->values + p->nsamples * p->ntypes, values, p->ntypes * sizeof *values);
    p->samples[p->nsamples++] = *sample;
    cu__index_add(&p->sample_index, hash, (uint32_t)p->nsamples);
    return 0;
}

int cu__add_sample(struct cu_pprof *p, const uint32_t *stack, size_t nstack, uint32_t *label_ids,
                   size_t nlabels, const int64_t *values)
{
    struct cu__sample sample;
    int err = p->error;
    if (err)
        return err;
    if (nlabels > 1)
        qsort(label_ids, nlabels, sizeof *label_ids, compare_ids);
    if ((err = cu__sequences_intern(&p->stacks, stack, nstack, &sample.stack)) ||
        (err = cu__sequences_intern(&p->label_sets, label_ids, nlabels, &sample.labels))) {
        cu__fail(p, err);
        return err;
    }
    uint32_t hash = hash_sample(&sample);
    uint32_t id = cu__index_find(&p->sample_index, hash, is_equal_sample, p, &sample);
    if (id) {
        add_values(p->values + (id - 1) * p->ntypes, values, p->ntypes);
        return 0;
    }
    err = append_sample(p, &sample, hash, values);
    if (err)
        cu__fail(p, err);
    return err;
}

int cu_pprof_sample(struct cu_pprof *p, const struct cu_pprof_sample *s)
{
    size_t nlabels = 0;
    if (p->error)
        return p->error;
    if (p->ntypes == 0)
        return -EINVAL;
    for (size_t i = 0; i < s->nlocations; i++)
        if (s->locations[i] == 0 || s->locations[i] > p->nlocations)
            return -EINVAL;
    int err = cu__reserve(&p->scratch, &p->scratch_cap, s->nlabels, sizeof *p->scratch);
    if (err) {
        cu__fail(p, err);
        return err;
    }
    for (size_t i = 0; i < s->nlabels; i++) {
        const struct cu_pprof_label *label = &s->labels[i];
        if (!label->key || !*label->key)
            return -EINVAL;
        /* an empty text is on the wire what no label is */
        if (label->str && !*label->str)
            continue;
        p->scratch[nlabels] = intern_public_label(p, label);
        if (!p->scratch[nlabels++])
            return p->error;
    }
    return cu__add_sample(p, s->locations, s->nlocations, p->scratch, nlabels, s->values);
}

/* --- arithmetic on values ------------------------------------------------------------------ */

static int64_t scaled(int64_t value, long double ratio)
{
    /* a long double holds every int64 exactly, so that 1 and -1 change nothing else */
    long double product = rintl((long double)value * ratio);
    if (product >= 0x1p63L)
        return INT64_MAX;
    if (product < -0x1p63L)
        return INT64_MIN;
    return (int64_t)product;
}

void cu_pprof_scale(struct cu_pprof *p, double ratio)
{
    if (p->error)
        return;
    if (!isfinite(ratio)) {
        cu__fail(p, -EINVAL);
        return;
    }
    for (size_t i = 0; i < p->nsamples * p->ntypes; i++)
        p->values[i] = scaled(p->values[i], ratio);
}

static bool is_all_zero(const int64_t *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (values[i])
            return false;
    return true;
}

void cu_pprof_drop_zero(struct cu_pprof *p)
{
    size_t kept = 0;
    if (p->error)
        return;
    for (size_t i = 0; i < p->nsamples; i++) {
        const int64_t *values = p->values + i * p->ntypes;
        if (is_all_zero(values, p->ntypes))
            continue;
        memmove(p->values + kept * p->ntypes, values, p->ntypes * sizeof *values);
        p->samples[kept++] = p->samples[i];
    }
    p->nsamples = kept;
    cu__index_clear(&p->sample_index);
    for (size_t i = 0; i < kept; i++)
        cu__index_add(&p->sample_index, hash_sample(&p->samples[i]), (uint32_t)i + 1);
}
