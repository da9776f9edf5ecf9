/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: one of two libraries of equal size and layout but other names; compiled with WHO 1 or 2.
 */
#if WHO == 1
#define HELPER helper_one
#define SPIN   spin_one
#else
#define HELPER helper_two
#define SPIN   spin_two
#endif

int spin(volatile int *who, unsigned rounds);
int HELPER(unsigned n);
int SPIN(volatile int *who, unsigned rounds);

/* Equal sizes, other frames: taking one's unwind information for the other's leads astray. */
__attribute__((noinline)) int HELPER(unsigned n)
{
    volatile char room[WHO == 1 ? 48 : 176];
    room[n % sizeof room] = (char)n;
    return room[n % sizeof room];
}

__attribute__((noinline)) int SPIN(volatile int *who, unsigned rounds)
{
    int sum = 0;
    *who = WHO;
    for (unsigned i = 0; i < rounds; i++)
        sum += HELPER(i);
    *who = 0;
    return sum;
}

int spin(volatile int *who, unsigned rounds)
{
    int sum = SPIN(who, rounds);
    __asm__ volatile("" : "+r"(sum)); /* no tail call */
    return sum;
}
