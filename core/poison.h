/* SPDX-License-Identifier: Apache-2.0 */
/*
 * poison.h - what core must never call (DESIGN 4), enforced. Include it last: system headers use
 * these names.
 */
#pragma GCC poison getenv secure_getenv setenv putenv
#pragma GCC poison printf puts putchar perror
#pragma GCC poison exit _exit abort signal sigaction umask chdir
