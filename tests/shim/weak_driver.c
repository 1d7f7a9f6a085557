/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weak_driver.c - a program that calls the driver if its weak references to it are bound. Under the
 * shim they always are, also on a machine without a driver. Two threads call at once.
 */
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>

#include "weak_calls.h"

static void *call_all(void *ctx)
{
	*(unsigned *)ctx = weak_call_all();
	return NULL;
}

int main(void)
{
	unsigned n_wrong, n_wrong_there;
	pthread_t thread;

	if (!weak_bound()) {
		puts("no driver");
		return 0;
	}
	if (weak_bound() != weak_count()) {
		printf("only %u of %u are bound\n", weak_bound(), weak_count());
		return 1;
	}
	if (pthread_create(&thread, NULL, call_all, &n_wrong_there))
		return 1;
	n_wrong = weak_call_all();
	pthread_join(thread, NULL);
	if (n_wrong || n_wrong_there)
		return 1;
	puts("all calls: no device");
	return 0;
}
