/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.c - runs a fuzz target without libFuzzer: every file given, then random mutations of them.
 *
 *   fuzz_TARGET [-n MUTATIONS] [-s SEED] FILE...
 *
 * The same seed, number and files give the same inputs. A failure is an abort; the seed and the
 * number of the mutation are printed first, when -v is given.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

#define INPUT_MAX (1u << 20)

struct input {
	uint8_t *data;
	size_t size;
};

static uint64_t state;

static uint64_t draw(uint64_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return below ? state % below : 0;
}

static bool load(const char *path, struct input *ret_input)
{
	FILE *file = fopen(path, "rbe");

	if (!file)
		return false;
	ret_input->data = malloc(INPUT_MAX);
	ret_input->size = ret_input->data ? fread(ret_input->data, 1, INPUT_MAX, file) : 0;
	fclose(file);
	return ret_input->data;
}

/* In a block of exactly this size, so that a sanitizer sees every read beyond it. */
static void run(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		exit(1);
	memcpy(copy, data, size);
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

static void mutate(uint8_t *data, size_t *size, const struct input *other)
{
	static const uint64_t special[] = {0, 1, 8, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0xffff,
		0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, INT64_MAX, UINT64_MAX,
		UINT64_MAX - 7};

	for (uint64_t rounds = 1 + draw(4); rounds && *size; rounds--) {
		size_t at = draw(*size), width = 1u << draw(4), n;
		uint64_t value = special[draw(sizeof(special) / sizeof(special[0]))];

		switch (draw(6)) {
		case 0:
			data[at] ^= 1u << draw(8);
			break;
		case 1:
			data[at] = draw(256);
			break;
		case 2:
			if (width <= *size - at)
				memcpy(data + at, &value, width);
			break;
		case 3:
			*size = at;
			break;
		case 4:
			n = draw(*size - at) / 4;
			memmove(data + at, data + at + n, *size - at - n);
			*size -= n;
			break;
		default:
			n = draw(64);
			if (n > other->size)
				n = other->size;
			if (n > *size - at)
				n = *size - at;
			memcpy(data + at, other->data + draw(other->size - n + 1), n);
			break;
		}
	}
}

int main(int argc, char **argv)
{
	uint64_t mutations = 2000, seed = 1;
	struct input *inputs;
	uint8_t *work;
	bool verbose = false;
	int option, n = 0;

	while ((option = getopt(argc, argv, "n:s:v")) != -1) {
		if (option == 'n')
			mutations = strtoull(optarg, NULL, 0);
		else if (option == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (option == 'v')
			verbose = true;
		else
			return 2;
	}
	inputs = calloc(argc - optind + 1, sizeof(*inputs));
	work = malloc(INPUT_MAX);
	if (!inputs || !work)
		return 1;
	for (int i = optind; i < argc; i++) {
		if (!load(argv[i], &inputs[n])) {
			fprintf(stderr, "cannot read %s\n", argv[i]);
			return 1;
		}
		run(inputs[n].data, inputs[n].size);
		n++;
	}
	state = seed * 0x9e3779b97f4a7c15ull | 1;
	for (uint64_t i = 0; n && i < mutations; i++) {
		const struct input *from = &inputs[draw(n)], *other = &inputs[draw(n)];
		size_t size = from->size;

		if (verbose)
			fprintf(stderr, "seed %ju mutation %ju\n", (uintmax_t)seed, (uintmax_t)i);
		memcpy(work, from->data, size);
		mutate(work, &size, other);
		run(work, size);
	}
	printf("%d files and %ju mutations, seed %ju\n", n, (uintmax_t)mutations, (uintmax_t)seed);
	for (int i = 0; i < n; i++)
		free(inputs[i].data);
	free(inputs);
	free(work);
	return n ? 0 : 1;
}
