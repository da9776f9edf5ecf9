/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the stack switch, the first frame of a coroutine, and reading one's own registers.
 *
 * Design: the switch is meant to be the end of a chain of tail calls that began in the caller of a
 * parking function, and ends in `pop %rcx; jmp *%rcx` straight to where that one returns. A `ret`
 * would mispredict, because the processor's return stack remembers the calls of the stack we left;
 * and so would each return of the functions between, were they not tail calls. What must be done on
 * the new stack is called from here (cu__arrived), whose result is that of the parking function.
 *
 * The unwind directives are right at every instruction: samplers and debuggers stop anywhere. Both
 * stacks have the same layout below the return address, so changing %rsp needs no directive.
 */
    .text

/* int cu__switch(void **save_sp, void *to_sp) */
    .globl  cu__switch
    .hidden cu__switch
    .type   cu__switch, @function
    .p2align 4
cu__switch:
    .cfi_startproc
    pushq   %rbp
    .cfi_def_cfa_offset 16
    .cfi_offset %rbp, -16
    pushq   %rbx
    .cfi_def_cfa_offset 24
    .cfi_offset %rbx, -24
    pushq   %r12
    .cfi_def_cfa_offset 32
    .cfi_offset %r12, -32
    pushq   %r13
    .cfi_def_cfa_offset 40
    .cfi_offset %r13, -40
    pushq   %r14
    .cfi_def_cfa_offset 48
    .cfi_offset %r14, -48
    pushq   %r15
    .cfi_def_cfa_offset 56
    .cfi_offset %r15, -56
    movq    %rsp, (%rdi)
    movq    %rsi, %rsp
    subq    $8, %rsp
    .cfi_def_cfa_offset 64
    call    cu__arrived
    addq    $8, %rsp
    .cfi_def_cfa_offset 56
    popq    %r15
    .cfi_def_cfa_offset 48
    .cfi_restore %r15
    popq    %r14
    .cfi_def_cfa_offset 40
    .cfi_restore %r14
    popq    %r13
    .cfi_def_cfa_offset 32
    .cfi_restore %r13
    popq    %r12
    .cfi_def_cfa_offset 24
    .cfi_restore %r12
    popq    %rbx
    .cfi_def_cfa_offset 16
    .cfi_restore %rbx
    popq    %rbp
    .cfi_def_cfa_offset 8
    .cfi_restore %rbp
    popq    %rcx
    .cfi_def_cfa_offset 0
    .cfi_register %rip, %rcx
    jmp     *%rcx
    .cfi_endproc
    .size   cu__switch, .-cu__switch

/* The outermost frame of a coroutine. A first switch arrives at its first instruction, with a zero
 * where a return address would be. The caller of this frame is undefined, which is how DWARF says
 * that there is none. */
    .globl  cu__coroutine_entry
    .hidden cu__coroutine_entry
    .type   cu__coroutine_entry, @function
    .p2align 4
cu__coroutine_entry:
    .cfi_startproc
    .cfi_undefined %rip
    .cfi_undefined %rbp
    call    cu__coroutine_main
    ud2
    .cfi_endproc
    .size   cu__coroutine_entry, .-cu__coroutine_entry

/* void cu__capture_regs(struct cu_saved_regs *regs): pc, sp, bp, bx, r12, r13, r14, r15 as the
 * caller has them after the call. */
    .globl  cu__capture_regs
    .hidden cu__capture_regs
    .type   cu__capture_regs, @function
    .p2align 4
cu__capture_regs:
    .cfi_startproc
    movq    (%rsp), %rax
    movq    %rax, 0(%rdi)
    leaq    8(%rsp), %rax
    movq    %rax, 8(%rdi)
    movq    %rbp, 16(%rdi)
    movq    %rbx, 24(%rdi)
    movq    %r12, 32(%rdi)
    movq    %r13, 40(%rdi)
    movq    %r14, 48(%rdi)
    movq    %r15, 56(%rdi)
    ret
    .cfi_endproc
    .size   cu__capture_regs, .-cu__capture_regs

    .section .note.GNU-stack, "", @progbits
