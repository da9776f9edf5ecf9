/* SPDX-License-Identifier: Apache-2.0
 *
 * Coroutines and a channel: three of them greet, main collects.
 *
 *     examples/hello
 */
#include <copper/chan.h>
#include <copper/go.h>
#include <stdio.h>

static cu_chan *greetings;

static void greet(void *arg)
{
    char text[32];
    snprintf(text, sizeof text, "hello from %s", (const char *)arg);
    cu_send(greetings, text); /* parks until main receives */
}

static int app(void *unused)
{
    (void)unused;
    static char *names[] = {"copper", "bronze", "brass"};
    char text[32];
    greetings = cu_chan_new(sizeof text, 0);
    for (int i = 0; i < 3; i++)
        cu_go(greet, names[i]);
    for (int i = 0; i < 3; i++) {
        cu_recv(greetings, text);
        puts(text);
    }
    cu_chan_unref(greetings);
    return 0;
}

int main(void)
{
    return cu_run(app, NULL);
}
