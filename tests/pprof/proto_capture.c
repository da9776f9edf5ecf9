/* SPDX-License-Identifier: Apache-2.0
 *
 * A host that has functions of zlib's and protobuf-c's names, as node has all of zlib's: our
 * library must not call them. Here they are, exported, and none may ever run.
 */
#include <copper/pprof.h>
#include <stdio.h>
#include <stdlib.h>

#define TRAP(name)                                                                                 \
    __attribute__((visibility("default"))) void name(void);                                        \
    void name(void)                                                                                \
    {                                                                                              \
        fprintf(stderr, "FAIL: %s of the host was called\n", #name);                               \
        _Exit(1);                                                                                  \
    }

TRAP(deflate)
TRAP(deflateInit2_)
TRAP(deflateEnd)
TRAP(inflate)
TRAP(inflateInit2_)
TRAP(inflateReset)
TRAP(inflateEnd)
TRAP(crc32)
TRAP(adler32)
TRAP(protobuf_c_message_get_packed_size)
TRAP(protobuf_c_message_pack)
TRAP(protobuf_c_message_unpack)
TRAP(protobuf_c_message_free_unpacked)

int main(int argc, char **argv)
{
    struct cu_pprof *p = cu_pprof_new(), *back;
    char error[256];
    if (!p || argc != 2)
        return 2;
    cu_pprof_sample_type(p, "n", "count");
    cu_pprof_sample(p, &(struct cu_pprof_sample){.values = (const int64_t[]){1}});
    int err = cu_pprof_write_file(p, argv[1]);
    if (!err)
        err = cu_pprof_read_file(argv[1], &back, error, sizeof error);
    if (err || cu_pprof_nsamples(back) != 1)
        return 1;
    cu_pprof_free(p);
    cu_pprof_free(back);
    return remove(argv[1]) ? 1 : 0;
}
