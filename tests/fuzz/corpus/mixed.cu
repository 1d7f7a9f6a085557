/* SPDX-License-Identifier: Apache-2.0 */
struct large { char c[4200]; void *p; };
struct packed { int a; int b; void *p; short q; };
extern "C" __global__ void large_block(large b, int n) { *(int *)b.p = n; }
extern "C" __global__ void mixed(float *x, int n, packed s, char c, double d) { x[n] = d + c + *(int *)s.p; }
extern "C" __global__ void empty() { }
