/* SPDX-License-Identifier: Apache-2.0
 *
 * Loops and functions of all shapes, for safe_points.py. Compiled, never run.
 */
extern volatile int word;
int other(int n);
void touch(void *p);

void for_ever(void)
{
    for (;;) {
    }
}

void count_for_ever(void)
{
    for (;;) {
        word++;
    }
}

void wait_for_word(void)
{
    while (!word) {
    }
}

void wait_for_flag(const int *flag)
{
    while (!__atomic_load_n(flag, __ATOMIC_RELAXED)) {
    }
}

void do_while(int n)
{
    do {
        word = n;
    } while (--n);
}

long sum(const long *a, long n)
{
    long s = 0;
    for (long i = 0; i < n; i++) {
        s += a[i];
    }
    return s;
}

void scale(float *a, float by, int n)
{
    for (int i = 0; i < n; i++) {
        a[i] *= by;
    }
}

void copy(char *to, const char *from, unsigned long n)
{
    for (unsigned long i = 0; i < n; i++) {
        to[i] = from[i];
    }
}

long nested(const long *a, long n)
{
    long s = 0;
    for (long i = 0; i < n; i++) {
        for (long j = 0; j < i; j++) {
            if (a[j] & 1) {
                s += a[i] * a[j];
                continue;
            }
            s ^= a[i];
            if (s == 77) {
                break;
            }
        }
    }
    return s;
}

void by_goto(void)
{
again:
    if (word == 1) {
        goto further;
    }
    word++;
    goto again;
further:
    if (word == 7) {
        goto again;
    }
}

/* entered in the middle */
void irreducible(int n)
{
    if (n & 1) {
        goto inside;
    }
    while (n) {
        word = n;
    inside:
        n--;
    }
}

int machine(const unsigned char *text)
{
    int state = 0;
    for (;; text++) {
        switch (state) {
        case 0:
            state = *text == 'a' ? 1 : 2;
            break;
        case 1:
            state = *text == 'b' ? 3 : 0;
            break;
        case 2:
            state = *text ? 4 : 0;
            break;
        case 3:
            state = *text == 'c' ? 4 : 1;
            break;
        case 4:
            return (int)*text;
        default:
            state--;
        }
    }
}

int recurse(int n)
{
    return n < 2 ? 1 : recurse(n - 1) + recurse(n - 2);
}

int turn_tail(int n, int a)
{
    return n ? turn_tail(n - 1, a + n) : a;
}

int ping(int n);
int pong(int n)
{
    return n ? ping(n - 1) : 1;
}
__attribute__((noinline)) int ping(int n)
{
    return n ? pong(n - 1) : 0;
}

int leaf(int a)
{
    return a * 3;
}

static inline int twice(int n)
{
    int s = 0;
    while (n-- > 0) {
        s += other(n);
    }
    return s;
}

int with_inlined(int n)
{
    char room[100];
    touch(room);
    return twice(n) + twice(n + 1);
}

long collatz(unsigned long n)
{
    long steps = 0;
    while (n != 1) {
        n = n % 2 ? 3 * n + 1 : n / 2;
        steps++;
    }
    return steps;
}
