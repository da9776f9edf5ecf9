// SPDX-License-Identifier: Apache-2.0
//
// A C++ program to be profiled: namespaces, templates, overloads, a lambda, exceptions.
#include <copper/profiler.h>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <poll.h>
#include <stdexcept>
#include <thread>
#include <unistd.h>

static volatile uint64_t sink;

namespace shapes
{

template <typename T> class Box
{
  public:
    __attribute__((noinline)) uint64_t area(T side)
    {
        uint64_t x = static_cast<uint64_t>(side);
        for (int i = 0; i < 20000; i++) {
            x = (x ^ (x >> 13)) * 0x9e3779b97f4a7c15u;
        }
        return x;
    }
};

__attribute__((noinline)) uint64_t throwing(uint64_t x)
{
    if (x % 3 != 1) {
        throw std::runtime_error("thrown");
    }
    return x;
}

__attribute__((noinline)) void measure(int n)
{
    Box<int> box;
    sink = sink + box.area(n);
    try {
        sink = sink + throwing(static_cast<uint64_t>(n) * 3);
    } catch (const std::exception &) {
        sink = sink + 1;
    }
}

} // namespace shapes

int main(int argc, char **argv)
{
    auto work = [] {
        for (int n = 0;; n++) {
            shapes::measure(n);
            if (n % 100 == 0) {
                usleep(1000);
            }
        }
    };
    std::thread(work).detach();
    if (cu_pprof_address() == nullptr && cu_pprof_serve("127.0.0.1:0") != 0) {
        return 1;
    }
    std::printf("%s\n", cu_pprof_address());
    std::fflush(stdout);
    pollfd in = {STDIN_FILENO, POLLIN, 0};
    poll(&in, 1, (argc > 1 ? std::atoi(argv[1]) : 60) * 1000);
    _exit(0);
}
