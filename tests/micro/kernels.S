/* SPDX-License-Identifier: Apache-2.0 */
/* kernels.ptx and planes.ptx as strings, in the program itself. */
	.section .rodata
	.globl micro_ptx
	.type micro_ptx, @object
micro_ptx:
	.incbin "tests/micro/kernels.ptx"
	.byte 0
	.size micro_ptx, . - micro_ptx
	.globl planes_ptx
	.type planes_ptx, @object
planes_ptx:
	.incbin "tests/micro/planes.ptx"
	.byte 0
	.size planes_ptx, . - planes_ptx
	.section .note.GNU-stack, "", @progbits
