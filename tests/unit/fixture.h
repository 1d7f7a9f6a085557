/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fixture.h - a core on a fake GPU, and an application that behaves as the hooks do.
 *
 * Each buffer has an ideal memory beside it: what a native allocation would hold. Reads compare.
 * Only what does not depend on a test framework: used by Criterion tests and by plain programs.
 */
#ifndef TESTS_UNIT_FIXTURE_H
#define TESTS_UNIT_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"
#include "tests/unit/fake_gpu.h"

#define SINK_ROWS 16

struct fixture {
	struct fake_gpu *gpu;
	struct kv_core *core;
	struct kv_space *space;
	uint32_t slot;
	uint64_t page; /* bytes */
	/* What the sink was told last. */
	struct kv_process_stats process;
	struct kv_reservation_stats rows[SINK_ROWS];
	uint32_t n_process, n_rows;
	char problem[512]; /* of fixture_check() */
};

struct buffer {
	struct kv_reservation *r;
	kv_gpu_addr base;
	uint64_t size;
	uint8_t *ideal;
	uint8_t *dead; /* 1: released, and not written since: whatever is read is right */
};

struct fixture_options {
	uint64_t page;         /* 0: 4096 */
	uint64_t device_pages; /* 0: 4096 */
	uint64_t spare_pages;
	uint64_t host_pages; /* host budget */
	uint64_t overcommit_pages;
	bool no_content;
	uint64_t linger_ns;
	bool keep_copies;        /* what is only read keeps its host copy */
	struct kv_ledger ledger; /* others on the same device */
};

/* Aborts the program if it cannot be made: there is no test without it. */
void fixture_open(struct fixture *f, struct fixture_options options);
/* NULL if core is consistent and the fake GPU has met no breach; else what is wrong. */
const char *fixture_check(struct fixture *f);
/* Drops the space and frees all. Returns what is wrong or left over, or NULL. */
const char *fixture_close(struct fixture *f);

/* A reservation and its ideal memory (zeros, as core gives; a native one would be undefined). */
int buffer_new(struct fixture *f, uint64_t size, struct buffer *ret_buffer);
int buffer_free(struct fixture *f, struct buffer *b);

/* The application: each returns 0, the error that the submission met, or -EUCLEAN when what was
 * read is not what a native allocation would hold. */
int app_write(struct fixture *f, struct buffer *b, uint64_t offset, uint64_t size, uint8_t value);
int app_read(struct fixture *f, struct buffer *b, uint64_t offset, uint64_t size);
int app_zero(struct fixture *f, struct buffer *b, uint64_t offset, uint64_t size);
/* A copy to the host as the hooks do it: EMPTY parts are zeros and are not backed. */
int app_download(struct fixture *f, struct buffer *b, uint64_t offset, uint64_t size);
/* An unknown kernel gets a pointer; then it writes anywhere without a word. */
int app_leak(struct fixture *f, struct buffer *b);
/* The same by a kernel that only reads; then it may read anywhere without a word. */
int app_leak_read(struct fixture *f, struct buffer *b);
int app_wild_read(struct fixture *f, struct buffer *b, uint64_t offset, uint64_t size);
int app_wild_write(
	struct fixture *f, struct buffer *b, uint64_t offset, uint64_t size, uint8_t value);
/* A transient kernel that rewrites [offset, offset+size) in place with value. */
int app_transient(struct fixture *f, struct buffer *b, bool dead, uint64_t offset, uint64_t size,
	uint8_t value);
/* A transient kernel that is known to stay within [offset, offset+size), and rewrites all of it
 * with value, or, if dead, nothing that counts. */
int app_shift(struct fixture *f, struct buffer *b, bool dead, uint64_t offset, uint64_t size,
	uint8_t value);
/* The application says that it will not read this before it has written it. */
uint64_t app_release(struct fixture *f, struct buffer *b, uint64_t offset, uint64_t size);
/* The same, and that it may soon write it again. */
uint64_t app_release_later(struct fixture *f, struct buffer *b, uint64_t offset, uint64_t size);

uint64_t pages_in(struct buffer *b, enum kv_page_state state);

#endif
