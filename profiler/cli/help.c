/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what `copper help` prints.
 */
#include "cli.h"

#include <stdio.h>
#include <string.h>

static const char overview[] =
    "usage: copper VERB [options] PID|NAME\n"
    "       copper VERB [options] [--] PROG [ARGS]\n"
    "\n"
    "  run     run a program with profiling at hand: go tool pprof reads from it at any time\n"
    "  record  record a profile of a program, or of a process that serves, into a file\n"
    "  top     the hottest functions, threads and coroutines of a process that serves, live\n"
    "  dump    every coroutine and thread of a process that serves, with its stack, now\n"
    "  list    processes that serve, with address\n"
    "  help    help VERB says more\n"
    "\n"
    "Programs need not be rebuilt. The exit status is the program's; 125: copper itself failed,\n"
    "126: the program cannot be run, 127: it was not found.\n";

static const char run_text[] =
    "usage: copper run [options] [--] PROG [ARGS]\n"
    "\n"
    "Becomes PROG (same pid, same terminal, same signals) with the profiler preloaded, and PROG serves\n"
    "http://ADDR/debug/pprof/ from the start. Nothing is sampled until somebody asks:\n"
    "\n"
    "    copper run -- redis-server --port 7000\n"
    "    go tool pprof http://127.0.0.1:41873/debug/pprof/profile?seconds=10\n"
    "\n"
    "  --http ADDR        serve on ADDR, HOST:PORT (default 127.0.0.1:0: any free port)\n"
    "  --follow[=NAMES]   also programs that PROG starts (comma-separated names: only those), each on\n"
    "                     a free port; copper list shows them\n"
    "  --leakcheck        report stranded coroutines at exit, which then has status 23\n"
    "  --quiet            no line from us on stderr, except errors\n"
    "\n"
    "A start script that ends in `exec` stays profiled, because its pid stays the same; programs it\n"
    "calls are not profiled. Programs that preloading cannot reach (statically linked, set-user-id,\n"
    "32-bit, not using glibc) are refused with status 125 and one sentence.\n";

static const char record_text[] =
    "usage: copper record [options] [--] PROG [ARGS]\n"
    "       copper record [options] PID|NAME\n"
    "\n"
    "Runs PROG and records until it ends; or records a process that serves (see copper list) until\n"
    "Ctrl-C or for -d seconds. A single word is a PID, the NAME of a process that serves, or else a\n"
    "program; after -- it is always a program. Ends with the ten hottest functions.\n"
    "\n"
    "  -e EVENT           what to record: cpu (default), wall, heap, block, mutex, schedule, hog,\n"
    "                     trace (of coroutines, for go tool trace; at most an hour)\n"
    "  -d SECONDS         for so long; PROG runs on afterwards\n"
    "  -o FILE            into FILE; %p is the pid, %e the program, %h the host, %% a percent sign\n"
    "                     (default %e.%p.EVENT.pb.gz, %e.%p.trace)\n"
    "  --hz N             samples per CPU-second, 1 to 10000 (default 100)\n"
    "  --http ADDR, --follow[=NAMES], --leakcheck, --quiet   as for run\n"
    "\n"
    "Profile windows are fetched as they end, so that the file holds all but at most the last second\n"
    "of a program that is killed. go tool pprof FILE reads it.\n";

static const char top_text[] =
    "usage: copper top [options] PID|NAME\n"
    "\n"
    "Every second: the functions that used the CPU in that second, the busiest threads, and what the\n"
    "coroutines are doing. Ctrl-C ends it.\n"
    "\n"
    "  -d SECONDS         between two tables (default 1)\n"
    "  -n COUNT           so many tables, then end\n";

static const char dump_text[] =
    "usage: copper dump PID|NAME\n"
    "\n"
    "Prints every coroutine and thread of a process that serves (see copper list), with its stack and\n"
    "what it waits for. The process is not stopped.\n";

static const char list_text[] =
    "usage: copper list\n"
    "\n"
    "Prints NAME[PID] and address of every process of this user (root: of all users) that serves.\n";

bool cu__help(const char *topic)
{
    static const struct {
        const char *name, *text;
    } pages[] = {{"run", run_text}, {"record", record_text}, {"list", list_text},
                 {"top", top_text}, {"dump", dump_text},     {"help", overview}};
    if (!topic) {
        fputs(overview, stdout);
        return true;
    }
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        if (strcmp(topic, pages[i].name) == 0) {
            fputs(pages[i].text, stdout);
            return true;
        }
    }
    return false;
}
