// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the Boost.Fiber twin of the programs in bench/ that have one there: the same work, the
// same lines. One thread for each P; with more than one, Boost's work-stealing scheduler.
//
// usage: PROCS=N peer NAME [COUNT]

#include <boost/fiber/all.hpp>
#include <boost/fiber/algo/work_stealing.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace fibers = boost::fibers;
using Clock = std::chrono::steady_clock;

static unsigned procs = 1;

static void result(const char *name, Clock::time_point since, int64_t count)
{
    double ns = std::chrono::duration<double, std::nano>(Clock::now() - since).count();
    std::printf("%s\t%.2f\tns\n", name, ns / static_cast<double>(count));
}

static void yield(int64_t yields)
{
    std::vector<fibers::fiber> all;
    auto start = Clock::now();
    for (unsigned i = 0; i < 2 * procs; i++) {
        all.emplace_back([yields] {
            for (int64_t j = 0; j < yields; j++) {
                boost::this_fiber::yield();
            }
        });
    }
    for (auto &f : all) {
        f.join();
    }
    result("yield", start, yields * 2);
}

static void spawn(int64_t spawns)
{
    constexpr int batch = 100;
    auto start = Clock::now();
    for (int64_t i = 0; i < spawns; i += batch) {
        std::vector<fibers::fiber> all;
        for (int j = 0; j < batch; j++) {
            all.emplace_back([] {});
        }
        for (auto &f : all) {
            f.join();
        }
    }
    result("spawn", start, spawns);
}

static void pingpong(int64_t trips)
{
    fibers::unbuffered_channel<int64_t> there, back;
    fibers::fiber echo([&] {
        for (int64_t v : there) {
            back.push(v);
        }
    });
    auto start = Clock::now();
    for (int64_t i = 0; i < trips; i++) {
        there.push(i);
        back.value_pop();
    }
    result("pingpong", start, trips);
    there.close();
    echo.join();
}

static void chan_buffered(int64_t messages)
{
    fibers::buffered_channel<int64_t> buffered(128);
    fibers::fiber produce([&] {
        for (int64_t i = 0; i < messages; i++) {
            buffered.push(i);
        }
        buffered.close();
    });
    auto start = Clock::now();
    int64_t value = 0;
    while (buffered.pop(value) == fibers::channel_op_status::success) {
    }
    result("chan_buffered", start, messages);
    produce.join();
}

static void mutex(int64_t locks)
{
    fibers::mutex mu;
    auto start = Clock::now();
    for (int64_t i = 0; i < locks; i++) {
        mu.lock();
        mu.unlock();
    }
    result("mutex", start, locks);
}

// Runs work with `procs` threads that share fibers.
static void with_procs(const std::function<void()> &work)
{
    if (procs == 1) {
        work();
        return;
    }
    fibers::mutex mu;
    fibers::condition_variable_any ended;
    bool is_over = false;
    std::vector<std::thread> threads;
    for (unsigned i = 1; i < procs; i++) {
        threads.emplace_back([&] {
            fibers::use_scheduling_algorithm<fibers::algo::work_stealing>(procs);
            std::unique_lock<fibers::mutex> lock(mu);
            ended.wait(lock, [&] { return is_over; });
        });
    }
    fibers::use_scheduling_algorithm<fibers::algo::work_stealing>(procs);
    work();
    {
        std::unique_lock<fibers::mutex> lock(mu);
        is_over = true;
    }
    ended.notify_all();
    for (auto &t : threads) {
        t.join();
    }
}

int main(int argc, char **argv)
{
    struct Program {
        void (*run)(int64_t);
        int64_t count;
    };
    const std::map<std::string, Program> programs = {
        {"yield", {yield, 3000000}},
        {"spawn", {spawn, 500000}},
        {"pingpong", {pingpong, 1000000}},
        {"chan_buffered", {chan_buffered, 2000000}},
        {"mutex", {mutex, 10000000}},
    };
    auto found = argc > 1 ? programs.find(argv[1]) : programs.end();
    if (found == programs.end()) {
        return 2;
    }
    if (const char *text = std::getenv("PROCS")) {
        procs = static_cast<unsigned>(std::atoi(text));
    }
    int64_t count = argc > 2 ? std::atoll(argv[2]) : found->second.count;
    with_procs([&] { found->second.run(count); });
    return 0;
}
