/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test.h - Criterion, and what every test of core says.
 */
#ifndef TESTS_UNIT_TEST_H
#define TESTS_UNIT_TEST_H

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/fixture.h"

/* A figure for whoever reads the log. (Criterion counts its own warnings as failures.) */
#define SAY(...) \
	do { \
		fprintf(stderr, __VA_ARGS__); \
		fputc('\n', stderr); \
	} while (0)

/* The call returns exactly this. */
#define EXPECT(call, value) \
	do { \
		long long got_ = (call), want_ = (value); \
		cr_assert(got_ == want_, "%s is %lld, not %lld", #call, got_, want_); \
	} while (0)

/* Core is consistent and no rule of the device was broken. */
#define EXPECT_SANE(f) \
	do { \
		const char *problem_ = fixture_check(f); \
		cr_assert(!problem_, "%s", problem_); \
	} while (0)

/* The same after everything is freed, and nothing is left over. */
#define CLOSE(f) \
	do { \
		const char *problem_ = fixture_close(f); \
		cr_assert(!problem_, "%s", problem_); \
	} while (0)

#endif
