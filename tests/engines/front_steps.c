/* SPDX-License-Identifier: Apache-2.0 */
/* front_steps.c - the steps of a scenario. Contexts are numbered in the order of opening. */
#include "front.h"

#include <stdlib.h>
#include <string.h>

static struct front_context contexts[FRONT_CONTEXTS];
static int n_contexts, current;
static uint8_t *saved;
static size_t saved_size;

void phase(const char *name)
{
	char line[64];

	printf("phase %s\n", name);
	fflush(stdout);
	if (opt.step && !fgets(line, sizeof(line), stdin))
		opt.step = false;
}

void put(struct batch *b, int token, int pos, int seq, bool logits)
{
	int i = b->n_tokens++;

	b->token[i] = token;
	b->pos[i] = pos;
	b->n_seq_id[i] = 1;
	b->seq_id[i][0] = seq;
	b->logits[i] = logits;
}

static void decode(const struct front_context *c, struct batch b)
{
	int error = api_decode(c, b);

	if (error)
		die("llama_decode: %d", error);
}

void prompt(const struct front_context *c, struct batch b, int n, int seq)
{
	int pos = api_next_pos(c, seq);

	for (int done = 0; done < n;) {
		b.n_tokens = 0;
		for (; done < n && b.n_tokens < FRONT_BATCH; done++)
			put(&b, (done * 7 + seq) % 26, pos + done, seq, done == n - 1);
		decode(c, b);
	}
}

/* One token per call for each sequence whose bit is set, all of them decoded together, n times. */
static void generate(const struct front_context *c, struct batch b, int n, uint64_t seqs)
{
	int token[FRONT_SEQS] = {0};

	for (int i = 0; i < n; i++) {
		int entry = 0;

		b.n_tokens = 0;
		for (int s = 0; s < opt.n_seq; s++)
			if (seqs >> s & 1)
				put(&b, token[s], api_next_pos(c, s), s, true);
		decode(c, b);
		for (int s = 0; s < opt.n_seq; s++) {
			if (!(seqs >> s & 1))
				continue;
			token[s] = api_pick(c, entry++);
			if (opt.tokens)
				fprintf(opt.tokens, "%d\n", token[s]);
		}
	}
}

static void erase(const struct front_context *c, int from, int to, int seq)
{
	if (!api_remove(c, seq, from, to))
		die("nothing erased");
	api_shift(c, seq, to, -1, from - to);
}

static void save(const struct front_context *c, int seq)
{
	free(saved);
	saved_size = api_state_size(c, seq);
	saved = malloc(saved_size);
	if (!saved || !api_state_get(c, saved, saved_size, seq))
		die("state of sequence %d not saved", seq);
}

static void load(const struct front_context *c, int seq)
{
	if (!saved || !api_state_set(c, saved, saved_size, seq))
		die("state of sequence %d not loaded", seq);
}

static void open_context(void *model, int n_ctx)
{
	if (n_contexts == FRONT_CONTEXTS)
		die("too many contexts");
	if (!api_context(model, n_ctx, &contexts[n_contexts]))
		die("no context");
	current = n_contexts++;
}

static void use_context(int i)
{
	if (i < 0 || i >= n_contexts || !contexts[i].context)
		die("no context %d", i);
	current = i;
}

static void close_context(int i)
{
	use_context(i);
	api_free_context(&contexts[i]);
	current = 0;
}

/* Steps about contexts and not within one. False: not such a step. */
static bool context_step(const char *name, int a, void *second_model)
{
	if (!strcmp(name, "context"))
		open_context(second_model, a);
	else if (!strcmp(name, "use"))
		use_context(a);
	else if (!strcmp(name, "close"))
		close_context(a);
	else
		return false;
	return true;
}

static void cache_step(
	const struct front_context *c, struct batch b, const char *name, int a, int to, int seq)
{
	if (!strcmp(name, "prompt"))
		prompt(c, b, a, seq);
	else if (!strcmp(name, "generate"))
		generate(c, b, a, 1ull << seq);
	else if (!strcmp(name, "together"))
		generate(c, b, a, to ? (uint64_t)to : UINT64_MAX);
	else if (!strcmp(name, "churn"))
		churn(c, b, a, (unsigned)to);
	else if (!strcmp(name, "clear"))
		api_clear(c, true);
	else if (!strcmp(name, "forget"))
		api_clear(c, false);
	else if (!strcmp(name, "drop"))
		api_remove(c, seq, -1, -1);
	else if (!strcmp(name, "erase"))
		erase(c, a, to, seq);
	else if (!strcmp(name, "copy"))
		api_copy(c, a, to);
	else if (!strcmp(name, "save"))
		save(c, seq);
	else if (!strcmp(name, "load"))
		load(c, seq);
	else
		die("unknown step %s", name);
}

/* "name", "name=a" or "name=a:b", and a sequence behind '@'. */
static void run_step(struct batch b, const char *step, void *second_model)
{
	int a = 0, to = 0, seq = 0;
	char name[32] = {0};
	const char *at = strchr(step, '@');

	if (sscanf(step, "%31[a-z-]=%d:%d", name, &a, &to) < 1)
		die("unknown step %s", step);
	if (at)
		seq = atoi(at + 1);
	if (seq < 0 || seq >= opt.n_seq)
		die("no sequence %d", seq);
	if (!context_step(name, a, second_model)) {
		if (!contexts[current].context)
			die("no context for %s", step);
		cache_step(&contexts[current], b, name, a, to, seq);
	}
	phase(step);
}

void run_steps(void *model, void *second_model, int n, char **steps)
{
	open_context(model, opt.n_ctx);
	phase("context");

	struct batch b = api_batch();
	for (int i = 0; i < n; i++)
		run_step(b, steps[i], second_model);
	api_free_batch(b);
	for (int i = 0; i < n_contexts; i++)
		if (contexts[i].context)
			api_free_context(&contexts[i]);
	free(saved);
}
