/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dlsym_x86_64.S - dlsym and dlvsym.
 *
 * The loader learns from the return address who is asking: RTLD_NEXT and RTLD_DEFAULT depend on it. So
 * what we do not answer ourselves must be a jump, with the registers and the stack as they came; C does not
 * promise that. kv_pick_dlsym and kv_pick_dlvsym (lookup.c) return {answer, jump} in rax:rdx.
 *
 * Each stands under both symbol versions that callers are bound to: libraries of the toolkit carry the
 * old one, programs linked since glibc 2.34 the new one.
 */
	.text

	.globl	kv_dlsym_entry
	.type	kv_dlsym_entry, @function
	.globl	kv_dlsym_entry_old
	.type	kv_dlsym_entry_old, @function
	.p2align 4
kv_dlsym_entry:
kv_dlsym_entry_old:
	.cfi_startproc
	endbr64
	pushq	%rdi
	.cfi_adjust_cfa_offset 8
	pushq	%rsi
	.cfi_adjust_cfa_offset 8
	subq	$8, %rsp
	.cfi_adjust_cfa_offset 8
	movq	24(%rsp), %rdx		/* who asks */
	call	kv_pick_dlsym
	addq	$8, %rsp
	.cfi_adjust_cfa_offset -8
	popq	%rsi
	.cfi_adjust_cfa_offset -8
	popq	%rdi
	.cfi_adjust_cfa_offset -8
	testq	%rdx, %rdx
	jz	1f
	jmp	*%rdx
1:	ret
	.cfi_endproc
	.size	kv_dlsym_entry, . - kv_dlsym_entry
	.size	kv_dlsym_entry_old, . - kv_dlsym_entry_old

	.globl	kv_dlvsym_entry
	.type	kv_dlvsym_entry, @function
	.globl	kv_dlvsym_entry_old
	.type	kv_dlvsym_entry_old, @function
	.p2align 4
kv_dlvsym_entry:
kv_dlvsym_entry_old:
	.cfi_startproc
	endbr64
	pushq	%rdi
	.cfi_adjust_cfa_offset 8
	pushq	%rsi
	.cfi_adjust_cfa_offset 8
	pushq	%rdx
	.cfi_adjust_cfa_offset 8
	movq	24(%rsp), %rcx		/* who asks */
	call	kv_pick_dlvsym
	movq	%rdx, %r11
	popq	%rdx
	.cfi_adjust_cfa_offset -8
	popq	%rsi
	.cfi_adjust_cfa_offset -8
	popq	%rdi
	.cfi_adjust_cfa_offset -8
	testq	%r11, %r11
	jz	1f
	jmp	*%r11
1:	ret
	.cfi_endproc
	.size	kv_dlvsym_entry, . - kv_dlvsym_entry
	.size	kv_dlvsym_entry_old, . - kv_dlvsym_entry_old

	.hidden	kv_pick_dlsym
	.hidden	kv_pick_dlvsym
	.symver	kv_dlsym_entry_old, dlsym@GLIBC_2.2.5
	.symver	kv_dlsym_entry, dlsym@@GLIBC_2.34
	.symver	kv_dlvsym_entry_old, dlvsym@GLIBC_2.2.5
	.symver	kv_dlvsym_entry, dlvsym@@GLIBC_2.34

	.section .note.GNU-stack, "", @progbits
