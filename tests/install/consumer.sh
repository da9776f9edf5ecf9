#!/usr/bin/env bash
# Installs into a scratch prefix, then builds and runs a five-line consumer twice: by pkg-config and
# by CMake's find_package. Also runs the installed command from there.
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
prefix=$scratch/prefix

cmake --install "$COPPER_BUILD" --prefix "$prefix" >"$scratch/log" || { cat "$scratch/log"; exit 1; }
libdir=$(dirname "$(find "$prefix" -name 'libcopper_runtime.so' | head -1)")
ls "$prefix/share/gdb/auto-load$libdir"/libcopper_runtime.so.*-gdb.py # where gdb looks

mkdir "$scratch/consumer"
cat >"$scratch/consumer/main.c" <<'C'
#include <copper/copper.h>
static void send_one(void *c) { int v = 42; cu_send(c, &v); }
static int app(void *c) { int v; cu_go(send_one, c); return cu_recv(c, &v) ? 1 : v - 42; }
int main(void) { return cu_run(app, cu_chan_new(sizeof(int), 0)) || cu_pprof_address() != 0; }
C
cat >"$scratch/consumer/CMakeLists.txt" <<'C'
cmake_minimum_required(VERSION 3.16)
project(consumer C)
find_package(copper 0.1 REQUIRED)
add_executable(consumer main.c)
target_link_libraries(consumer PRIVATE copper::copper)
add_executable(calls_nothing calls_nothing.c)
target_link_libraries(calls_nothing PRIVATE -Wl,--as-needed copper::heap copper::copper)
C
cat >"$scratch/consumer/calls_nothing.c" <<'C'
int main(void) { return 0; }
C

# is_kept BINARY: it has what the environment alone turns on
is_kept() {
    for name in profiler leakcheck heap; do
        readelf -d "$1" | grep -q "NEEDED.*libcopper_$name" || { echo "$1 lost $name"; exit 1; }
    done
}

echo "pkg-config"
cd "$scratch/consumer"
PKG_CONFIG_PATH=$libdir/pkgconfig
export PKG_CONFIG_PATH
# shellcheck disable=SC2046
cc -Wall -Werror main.c -o by-pkg-config $(pkg-config --cflags --libs copper) -Wl,-rpath,"$libdir"
./by-pkg-config
# shellcheck disable=SC2046
cc -Wl,--as-needed calls_nothing.c -o kept $(pkg-config --libs copper-heap copper) -Wl,-rpath,"$libdir"
is_kept kept
./kept

# C++, with what is inlined
cat >locks.cc <<'C'
#include <copper/sync.h>
static cu_mutex mu;
static cu_rwmutex rw;
static cu_once once;
static int sum;
static void begin(void *) { sum = 40; }
static int app(void *)
{
    cu_once_do(&once, begin, nullptr);
    cu_mutex_lock(&mu);
    cu_rwmutex_rlock(&rw);
    sum++;
    cu_rwmutex_runlock(&rw);
    cu_mutex_unlock(&mu);
    sum += cu_mutex_try_lock(&mu);
    return sum - 42;
}
int main() { return cu_run(app, nullptr); }
C
# shellcheck disable=SC2046
c++ -O2 -Wall -Wextra -pedantic -Werror locks.cc -o locks $(pkg-config --cflags --libs copper) -Wl,-rpath,"$libdir"
./locks
nm -u locks | grep -q cu_running_id

cat >suite.c <<'C'
#include <copper/cmocka.h>
#include <copper/chan.h>
static void ask(void *ch) { int v = 42; cu_send(ch, &v); }
static void gives_up(void **state) { (void)state; cu_go(ask, cu_chan_new(sizeof(int), 0)); }
int main(void) {
    const struct CMUnitTest tests[] = {cu_cmocka_test(gives_up)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
C
# shellcheck disable=SC2046
cc -Wall -Werror suite.c -o suite $(pkg-config --cflags --libs copper-cmocka) -Wl,-rpath,"$libdir"
! ./suite 2>suite.err
grep '1 coroutine stranded: chan send on channel (cap 0, made at suite.c:4)' suite.err

echo "cmake"
cmake -S . -B build -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
cmake --build build >/dev/null
./build/consumer
is_kept build/calls_nothing
./build/calls_nothing

echo "copper_preemptible"
mkdir "$scratch/preemptible"
cd "$scratch/preemptible"
cat >main.c <<'C'
#include <copper/copper.h>
static int done;
static void waits(void *unused) { (void)unused; cu_sleep(COPPER_MS); done = 1; }
static int app(void *unused)
{
    (void)unused;
    cu_go(waits, NULL);
    while (!done) {
        __asm__ volatile("" ::: "memory");
    }
    return 0;
}
int main(void) { return cu_run(app, NULL); }
C
cat >part.cc <<'C'
long part(long n) { long s = 0; while (n--) s += n; return s; }
C
cat >CMakeLists.txt <<'C'
cmake_minimum_required(VERSION 3.16)
project(preemptible C CXX)
find_package(copper 0.1 REQUIRED)
add_library(part STATIC part.cc)
add_library(object OBJECT part.cc)
add_executable(preemptible main.c)
target_link_libraries(preemptible PRIVATE part object copper::runtime)
copper_preemptible(part object preemptible)
C
cmake -S . -B build -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
cmake --build build >/dev/null
COPPER_MAXPROCS=1 COPPER_HANDOFF=0 timeout 60 ./build/preemptible

echo "the command"
"$prefix/bin/copper" --version
"$prefix/bin/copper" run --quiet -- /bin/true
