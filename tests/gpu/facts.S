/* SPDX-License-Identifier: Apache-2.0 */
/* facts.ptx as a string, in the program itself. */
	.section .rodata
	.globl facts_ptx
	.type facts_ptx, @object
facts_ptx:
	.incbin "tests/gpu/facts.ptx"
	.byte 0
	.size facts_ptx, . - facts_ptx
	.section .note.GNU-stack, "", @progbits
