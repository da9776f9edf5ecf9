/* SPDX-License-Identifier: Apache-2.0
 *
 * A pipeline of coroutines: produce -> parse -> digest -> collect. One stage is hot: a profile says
 * which. With --leak the collector gives up at an error, as real code does, and strands the others.
 *
 *     examples/pipeline [--seconds N]                       ends after N seconds (default 2)
 *     COPPER_HTTP=127.0.0.1:6060 examples/pipeline --stay   serves until killed
 *     COPPER_LEAKCHECK=1 examples/pipeline --leak           names what is stranded, exit status 23
 */
#include <copper/chan.h>
#include <copper/label.h>
#include <copper/profiler.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct block { unsigned long number, words, digest; char text[2048]; };
static int64_t end_ns; /* 0: never */
static bool is_leaky;

static __attribute__((noinline)) void make_block(struct block *b, unsigned long number)
{
    for (size_t i = b->number = number; i < number + sizeof b->text; i++)
        b->text[i - number] = i * i % 7 == 0 ? ' ' : 'x';
}
static void count_words(struct block *b)
{
    for (size_t i = b->words = 1; i < 8 * sizeof b->text; i++)
        b->words += b->text[i % sizeof b->text] != ' ' && b->text[(i - 1) % sizeof b->text] == ' ';
}
static void mix_block(struct block *b) /* the hot one */
{
    for (size_t i = b->digest = 0; i < 16 * sizeof b->text; i++)
        b->digest = (b->digest ^ (unsigned long)b->text[i % sizeof b->text]) * 0x100000001b3u;
}

static void produce(void *raw)
{
    static struct block b;
    cu_label_set("stage", "produce");
    for (unsigned long n = 0; end_ns == 0 || cu_now() < end_ns; cu_send(raw, &b))
        make_block(&b, n++);
}
struct stage { const char *name; void (*work)(struct block *); cu_chan *in, *out; };
static void run_stage(void *arg)
{
    struct stage *stage = arg;
    struct block b;
    for (cu_label_set("stage", stage->name); cu_recv(stage->in, &b) == 0; cu_send(stage->out, &b))
        stage->work(&b);
}
static void collect(void *digested)
{
    struct block b;
    unsigned long blocks = 0, words = 0;
    for (cu_label_set("stage", "collect"); cu_recv(digested, &b) == 0; words += b.words)
        if (++blocks == 1000 && is_leaky) {
            fprintf(stderr, "pipeline: block %lu is bad, giving up\n", b.number);
            return; /* and nobody receives from the workers any more */
        }
    printf("%lu blocks, %lu words\n", blocks, words);
}

static int app(void *unused __attribute__((unused)))
{
    cu_wg producers = {0}, parsers = {0}, digesters = {0}, collector = {0};
    cu_chan *raw = cu_chan_new(sizeof(struct block), 4);
    cu_chan *parsed = cu_chan_new(sizeof(struct block), 4);
    cu_chan *digested = cu_chan_new(sizeof(struct block), 4);
    static struct stage parse, digest;
    parse = (struct stage){"parse", count_words, raw, parsed};
    digest = (struct stage){"digest", mix_block, parsed, digested};
    cu_chan_name(raw, "raw"), cu_chan_name(parsed, "parsed"), cu_chan_name(digested, "digested");
    cu_wg_go(&producers, produce, raw);
    for (int i = 0; i < 2; i++)
        cu_wg_go(&parsers, run_stage, &parse);
    for (int i = 0; i < 4; i++)
        cu_wg_go(&digesters, run_stage, &digest);
    cu_wg_go(&collector, collect, digested);
    if (!is_leaky) /* the end of a stage closes the queue to the next */
        cu_wg_wait(&producers), cu_chan_close(raw), cu_wg_wait(&parsers), cu_chan_close(parsed),
            cu_wg_wait(&digesters), cu_chan_close(digested);
    return cu_wg_wait(&collector), 0;
}

int main(int argc, char **argv)
{
    const char *option = argc > 1 ? argv[1] : "--seconds";
    is_leaky = strcmp(option, "--leak") == 0;
    if (strcmp(option, "--seconds") == 0)
        end_ns = cu_now() + (argc > 2 ? atoi(argv[2]) : 2) * COPPER_SEC;
    else if (!is_leaky && strcmp(option, "--stay") != 0)
        return fprintf(stderr, "usage: %s [--leak | --stay | --seconds N]\n", argv[0]), 2;
    if (cu_pprof_address() != NULL)
        fprintf(stderr, "pipeline: http://%s/debug/pprof/\n", cu_pprof_address());
    return cu_run(app, NULL);
}
