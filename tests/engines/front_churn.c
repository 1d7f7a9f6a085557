/* SPDX-License-Identifier: Apache-2.0 */
/*
 * front_churn.c - random work on the sequences of a context, as a busy server makes it.
 *
 * Slots are filled, decoded together, cut, shifted, copied, saved, restored and emptied. What
 * libllama refuses (a recurrent state cannot be cut in the middle) is no error; a full cache is
 * answered as a server does, by giving up a slot.
 */
#include "front.h"

#include <stdlib.h>

enum { CHURN_PROMPT = 500, CHURN_TOGETHER = 12 };

struct churn {
	const struct front_context *c;
	struct batch b;
	uint64_t state; /* of the random numbers */
	int n_left;     /* decodes */
	void *saved;
	size_t saved_size;
};

static unsigned draw(struct churn *w, unsigned below)
{
	w->state ^= w->state << 13;
	w->state ^= w->state >> 7;
	w->state ^= w->state << 17;
	return (unsigned)(w->state >> 33) % below;
}

/* Decodes the batch; a full cache costs a slot, for which this one is as good as any. */
static bool try_decode(struct churn *w)
{
	if (!w->b.n_tokens || w->n_left <= 0)
		return false;
	int error = api_decode(w->c, w->b);
	w->n_left--;
	if (error == 1) {
		api_remove(w->c, (int)draw(w, (unsigned)opt.n_seq), -1, -1);
		return false;
	}
	if (error)
		die("llama_decode: %d", error);
	return true;
}

static void fill(struct churn *w, int seq)
{
	int n = 1 + (int)draw(w, CHURN_PROMPT), pos = api_next_pos(w->c, seq);

	w->b.n_tokens = 0;
	for (int i = 0; i < n; i++)
		put(&w->b, (int)draw(w, 26), pos + i, seq, i == n - 1);
	try_decode(w);
}

/* A few tokens for each sequence that has any, all of them in one batch. */
static void decode_together(struct churn *w)
{
	int n = 1 + (int)draw(w, CHURN_TOGETHER);

	for (int i = 0; i < n; i++) {
		w->b.n_tokens = 0;
		for (int s = 0; s < opt.n_seq; s++) {
			int pos = api_next_pos(w->c, s);
			if (pos > 0)
				put(&w->b, (int)draw(w, 26), pos, s, true);
		}
		if (!try_decode(w))
			return;
		for (int j = 0; j < w->b.n_tokens && opt.tokens; j++)
			fprintf(opt.tokens, "%d\n", api_pick(w->c, j));
	}
}

/* Takes tokens out of the middle; what is behind them moves up and is rotated at the next decode.
 */
static void cut(struct churn *w, int seq)
{
	int end = api_next_pos(w->c, seq);

	/* libllama has no rotation of bfloat16: it ends the process. */
	if (end < 8 || opt.type == FRONT_BF16)
		return;
	int from = 1 + (int)draw(w, (unsigned)end / 2),
	    to = from + 1 + (int)draw(w, (unsigned)end / 4);
	if (api_remove(w->c, seq, from, to))
		api_shift(w->c, seq, to, -1, from - to);
}

static void shorten(struct churn *w, int seq)
{
	int end = api_next_pos(w->c, seq);

	if (end > 1)
		api_remove(w->c, seq, (int)draw(w, (unsigned)end), -1);
}

static void copy(struct churn *w, int from)
{
	int to = (int)draw(w, (unsigned)opt.n_seq);

	if (to == from || api_next_pos(w->c, from) < 1)
		return;
	api_remove(w->c, to, -1, -1);
	api_copy(w->c, from, to);
}

static void save(struct churn *w, int seq)
{
	if (api_next_pos(w->c, seq) < 1)
		return;
	free(w->saved);
	w->saved_size = api_state_size(w->c, seq);
	w->saved = malloc(w->saved_size);
	if (!w->saved || !api_state_get(w->c, w->saved, w->saved_size, seq))
		die("state of sequence %d not saved", seq);
}

/* May find no room for it. */
static void restore(struct churn *w, int seq)
{
	if (!w->saved)
		return;
	api_remove(w->c, seq, -1, -1);
	api_state_set(w->c, w->saved, w->saved_size, seq);
}

void churn(const struct front_context *c, struct batch b, int n, unsigned seed)
{
	struct churn w = {.c = c, .b = b, .state = 0x9e3779b97f4a7c15u * (seed + 1), .n_left = n};

	while (w.n_left > 0) {
		int seq = (int)draw(&w, (unsigned)opt.n_seq);
		unsigned what = draw(&w, 100);
		if (what < 30)
			fill(&w, seq);
		else if (what < 65)
			decode_together(&w);
		else if (what < 72)
			api_remove(c, seq, -1, -1);
		else if (what < 78)
			cut(&w, seq);
		else if (what < 85)
			shorten(&w, seq);
		else if (what < 89)
			copy(&w, seq);
		else if (what < 93)
			save(&w, seq);
		else if (what < 97)
			restore(&w, seq);
		else
			api_clear(c, what == 97);
	}
	free(w.saved);
}
