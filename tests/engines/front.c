/* SPDX-License-Identifier: Apache-2.0 */
/*
 * front.c - drives an unmodified libllama through its C interface, step by step.
 *
 * One thread, the same calls in every run: what it prints can be compared between runs.
 */
#include "front.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct front_options opt = {.n_ctx = 131072, .n_seq = 1, .flash = 1, .type = 1};

void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("llama-front: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

static void usage(void)
{
	fputs("usage: llama-front --libs DIR --model FILE [options] STEP...\n"
	      "  --ctx N (fit: as many as the free memory allows) --seqs N --unified --flash "
	      "0|1|-1 --cache f32|f16|bf16|q8_0|q4_0\n"
	      "  --small-swa --second-model FILE (for further contexts)\n"
	      "  --step (wait for a line on stdin after each phase) --tokens FILE --verbose\n"
	      "steps: prompt=N generate=N together=N[:SEQUENCES, as a sum of powers of 2] clear "
	      "forget "
	      "drop\n"
	      "  churn=DECODES:SEED erase=A:B\n"
	      "  copy=FROM:TO save load, a sequence behind @ (prompt=20@1);\n"
	      "  context=N (opens another and uses it) use=I close=I\n",
		stderr);
	exit(2);
}

static int cache_type(const char *name)
{
	static const struct {
		const char *name;
		int type;
	} types[] = {{"f32", 0}, {"f16", 1}, {"q4_0", 2}, {"q8_0", 8}, {"bf16", FRONT_BF16}};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (!strcmp(name, types[i].name))
			return types[i].type;
	usage();
	return 0;
}

static void parse(int argc, char **argv)
{
	static const struct option options[] = {{"libs", 1, NULL, 'l'}, {"model", 1, NULL, 'm'},
		{"ctx", 1, NULL, 'c'}, {"seqs", 1, NULL, 's'}, {"unified", 0, NULL, 'u'},
		{"flash", 1, NULL, 'f'}, {"cache", 1, NULL, 't'}, {"step", 0, NULL, 'w'},
		{"small-swa", 0, NULL, 'S'}, {"tokens", 1, NULL, 'o'}, {"verbose", 0, NULL, 'v'},
		{"second-model", 1, NULL, '2'}, {NULL, 0, NULL, 0}};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'l':
			opt.libs = optarg;
			break;
		case 'm':
			opt.model = optarg;
			break;
		case 'c':
			opt.n_ctx = strcmp(optarg, "fit") ? atoi(optarg) : 0;
			break;
		case 's':
			opt.n_seq = atoi(optarg);
			break;
		case 'u':
			opt.unified = true;
			break;
		case 'f':
			opt.flash = atoi(optarg);
			break;
		case 't':
			opt.type = cache_type(optarg);
			break;
		case 'w':
			opt.step = true;
			break;
		case 'S':
			opt.small_swa = true;
			break;
		case 'o':
			opt.tokens = fopen(optarg, "w");
			if (!opt.tokens)
				die("%s: %s", optarg, strerror(errno));
			break;
		case 'v':
			opt.verbose = true;
			break;
		case '2':
			opt.second_model = optarg;
			break;
		default:
			usage();
		}
	}
	if (!opt.libs || !opt.model || opt.n_seq < 1 || opt.n_seq > FRONT_SEQS)
		usage();
}

int main(int argc, char **argv)
{
	parse(argc, argv);
	api_start();
	phase("started");
	if (!opt.n_ctx) {
		char fitted[32];

		opt.n_ctx = api_fit(opt.model);
		snprintf(fitted, sizeof(fitted), "fit=%d", opt.n_ctx);
		phase(fitted);
	}
	void *model = api_model(opt.model), *second = model;
	if (opt.second_model)
		second = api_model(opt.second_model);
	phase("loaded");
	run_steps(model, second, argc - optind, argv + optind);
	phase("freed");
	if (second != model)
		api_free_model(second);
	api_free_model(model);
	phase("disposed");
	api_end();
	if (opt.tokens && fclose(opt.tokens))
		die("tokens: %s", strerror(errno));
	return 0;
}
