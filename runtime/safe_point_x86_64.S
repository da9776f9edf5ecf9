/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what compiled safe points call: linked into each target that is made preemptible
 * (cmake/preempt.cmake), not part of the library, so that the call needs no detour over the PLT.
 *
 * Design: compilers have one instrumentation that calls a function at every block of code, meant for
 * fuzzers; so the name is theirs. The call is one like any other to them: what they have in
 * caller-saved registers, vectors included, they save. Asked: the thread's own byte, because one
 * that does not answer (code without safe points) must not make the others slow.
 *
 * One copy is kept where several parts of a program bring it (COMDAT), and none is shown outside of
 * it: sanitizers have a weak one that does nothing.
 */
    .section .text.__sanitizer_cov_trace_pc, "axG", @progbits, __sanitizer_cov_trace_pc, comdat
    .globl  __sanitizer_cov_trace_pc
    .hidden __sanitizer_cov_trace_pc
    .type   __sanitizer_cov_trace_pc, @function
    .p2align 4
__sanitizer_cov_trace_pc:
    .cfi_startproc
    movq    cu_safe_point_asked@gottpoff(%rip), %rax
    cmpb    $0, %fs:(%rax)
    jne     1f
    ret
1:
    jmp     *cu_safe_point@GOTPCREL(%rip)
    .cfi_endproc
    .size   __sanitizer_cov_trace_pc, .-__sanitizer_cov_trace_pc

    .section .note.GNU-stack, "", @progbits
