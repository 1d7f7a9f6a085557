/* SPDX-License-Identifier: Apache-2.0 */
/*
 * front.h - what the parts of llama-front share: an unmodified libllama through its C interface.
 *
 * front_api.c finds the functions and lays out the parameter structs of the builds that it knows,
 * front_steps.c does what a scenario says, front_churn.c does random things. One thread.
 */
#ifndef ENGINES_FRONT_H
#define ENGINES_FRONT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
	FRONT_BATCH = 512, /* tokens: one call of llama_decode takes no more */
	FRONT_SEQS = 64,
	FRONT_CONTEXTS = 4,
	FRONT_BF16 = 30, /* as libllama numbers types */
};

struct front_options {
	const char *libs, *model, *second_model;
	int n_ctx, n_seq, flash, type;
	bool unified, small_swa, step, verbose;
	FILE *tokens; /* NULL: not wanted */
};

extern struct front_options opt;

/* As libllama declares it; builds of 2024 have three fields more at the end, which they read only
 * when there is no `pos`. */
struct batch {
	int32_t n_tokens;
	int32_t *token;
	float *embd;
	int32_t *pos;
	int32_t *n_seq_id;
	int32_t **seq_id;
	int8_t *logits;
	int64_t tail[4];
};

/* A context with its cache. memory is what the functions of the cache take: the context itself in
 * builds that have no such object. */
struct front_context {
	void *model, *context, *memory;
	int n_ctx;
};

/* Says why on stderr, exit 1. */
__attribute__((format(printf, 1, 2), noreturn)) void die(const char *format, ...);

/* ---- front_api.c: all die() of what cannot be had ---- */

/* Opens the libraries in opt.libs, finds the functions, starts the backends. */
void api_start(void);
void api_end(void);
/* Cells that llama-server would take for this model without `-c`, a margin of 256 MiB left. Only
 * the newest build. */
int api_fit(const char *path);
void *api_model(const char *path);
void api_free_model(void *model);
/* A context of n_ctx cells with the cache that the options say. NULL: libllama refused. */
bool api_context(void *model, int n_ctx, struct front_context *ret);
void api_free_context(struct front_context *c);
struct batch api_batch(void);
void api_free_batch(struct batch b);
/* llama_decode's result: 0, 1 (no room in the cache), or another error. */
int api_decode(const struct front_context *c, struct batch b);
/* The most likely token after entry `i` of the last batch; the first of equals. */
int api_pick(const struct front_context *c, int i);

/* The cache. Sequences and positions as libllama counts them; -1: all of them. */
int api_next_pos(const struct front_context *c, int seq);
/* data: content is zeroed, too. Old builds know no other way, and forget by removing. */
void api_clear(const struct front_context *c, bool data);
bool api_remove(const struct front_context *c, int seq, int from, int to);
void api_shift(const struct front_context *c, int seq, int from, int to, int by);
void api_copy(const struct front_context *c, int from, int to);
size_t api_state_size(const struct front_context *c, int seq);
bool api_state_get(const struct front_context *c, void *to, size_t size, int seq);
bool api_state_set(const struct front_context *c, const void *from, size_t size, int seq);

/* ---- front_steps.c ---- */

/* Says how far the scenario is; with --step waits until whoever watches says a line. */
void phase(const char *name);
/* Opens the first context, runs the steps, frees what is left. */
void run_steps(void *model, void *second_model, int n, char **steps);
/* Appends one token to the batch. */
void put(struct batch *b, int token, int pos, int seq, bool logits);
/* n tokens for one sequence, in batches. Dies when there is no room. */
void prompt(const struct front_context *c, struct batch b, int n, int seq);

/* ---- front_churn.c ---- */

/* Random work on the sequences until n decodes have been made; the same seed, the same work. */
void churn(const struct front_context *c, struct batch b, int n, unsigned seed);

#endif
