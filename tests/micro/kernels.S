/* SPDX-License-Identifier: Apache-2.0 */
/* kernels.ptx as a string, in the program itself. */
	.section .rodata
	.globl micro_ptx
	.type micro_ptx, @object
micro_ptx:
	.incbin "tests/micro/kernels.ptx"
	.byte 0
	.size micro_ptx, . - micro_ptx
	.section .note.GNU-stack, "", @progbits
