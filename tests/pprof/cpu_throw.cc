/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a C++ program that throws all the time, through several frames with destructors.
 */
#include <cstdlib>
#include <ctime>
#include <stdexcept>
#include <string>

static volatile long caught;

struct guard {
    std::string text = "a string long enough to be allocated, so that unwinding has to free it";
    ~guard()
    {
        caught = caught + text.size() % 2;
    }
};

__attribute__((noinline)) static void descend(int depth)
{
    guard g;
    if (depth == 0) {
        throw std::runtime_error("down here");
    }
    descend(depth - 1);
    caught = caught + 1;
}

int main(int argc, char **argv)
{
    time_t end = time(nullptr) + (argc > 1 ? atoi(argv[1]) : 10);
    while (time(nullptr) < end) {
        for (int i = 0; i < 100; i++) {
            try {
                descend(i % 12);
            } catch (const std::exception &e) {
                caught = caught + e.what()[0] % 2;
            }
        }
    }
    return 0;
}
