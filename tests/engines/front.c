/* SPDX-License-Identifier: Apache-2.0 */
/*
 * front.c - drives an unmodified libllama through its C interface, step by step.
 *
 * No header of llama.cpp is used: parameter structs are opaque blobs whose sizes and the few
 * offsets that are set are checked at run time, so that another build is refused and not misread.
 * One thread, the same calls in every run: what it prints can be compared between runs.
 */
#include <dlfcn.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL_PARAMS_BYTES 80
#define CONTEXT_PARAMS_BYTES 160
#define BATCH_TOKENS 512 /* one call of llama_decode takes no more */

/* Where the fields of llama_context_params lie that are set here, and what they are by default. */
enum {
	AT_N_CTX = 0,
	AT_N_UBATCH = 8,
	AT_N_SEQ_MAX = 12,
	AT_FLASH = 52,
	AT_TYPE_K = 104,
	AT_TYPE_V = 108,
	AT_SWA_FULL = 132,
	AT_UNIFIED = 133,
};

struct model_params {
	uint64_t words[MODEL_PARAMS_BYTES / 8];
};

struct context_params {
	uint64_t words[CONTEXT_PARAMS_BYTES / 8];
};

struct big {
	unsigned char bytes[512];
};

struct batch {
	int32_t n_tokens;
	int32_t *token;
	float *embd;
	int32_t *pos;
	int32_t *n_seq_id;
	int32_t **seq_id;
	int8_t *logits;
};

/* clang-format off */
#define API(X) \
	X(void, ggml_backend_load_all_from_path, (const char *)) \
	X(void, llama_backend_init, (void)) X(void, llama_backend_free, (void)) \
	X(void, llama_log_set, (void (*)(int, const char *, void *), void *)) \
	X(void, llama_model_default_params, (struct big *)) \
	X(void, llama_context_default_params, (struct big *)) \
	X(void *, llama_model_load_from_file, (const char *, struct model_params)) \
	X(void *, llama_init_from_model, (void *, struct context_params)) \
	X(void, llama_free, (void *)) X(void, llama_model_free, (void *)) \
	X(const void *, llama_model_get_vocab, (const void *)) \
	X(int32_t, llama_vocab_n_tokens, (const void *)) \
	X(struct batch, llama_batch_init, (int32_t, int32_t, int32_t)) \
	X(void, llama_batch_free, (struct batch)) \
	X(int32_t, llama_decode, (void *, struct batch)) \
	X(float *, llama_get_logits_ith, (void *, int32_t)) \
	X(void *, llama_get_memory, (const void *)) \
	X(void, llama_memory_clear, (void *, bool)) \
	X(bool, llama_memory_seq_rm, (void *, int32_t, int32_t, int32_t)) \
	X(void, llama_memory_seq_add, (void *, int32_t, int32_t, int32_t, int32_t)) \
	X(void, llama_memory_seq_cp, (void *, int32_t, int32_t, int32_t, int32_t)) \
	X(int32_t, llama_memory_seq_pos_max, (void *, int32_t)) \
	X(size_t, llama_state_seq_get_size, (void *, int32_t)) \
	X(size_t, llama_state_seq_get_data, (void *, uint8_t *, size_t, int32_t)) \
	X(size_t, llama_state_seq_set_data, (void *, const uint8_t *, size_t, int32_t))
/* clang-format on */

static struct {
#define X(ret, name, args) ret(*name) args;
	API(X)
#undef X
} api;

static struct {
	const char *libs, *model;
	int n_ctx, n_seq, flash, type;
	bool unified, small_swa, step, verbose;
	FILE *tokens;
} opt = {.n_ctx = 131072, .n_seq = 1, .flash = 1, .type = 1};

static void *model, *context, *memory;
static uint8_t *saved;
static size_t saved_size;

__attribute__((format(printf, 1, 2), noreturn)) static void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("llama-front: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

/* Says how far the scenario is; with --step waits until whoever watches says a line. */
static void phase(const char *name)
{
	char line[64];

	printf("phase %s\n", name);
	fflush(stdout);
	if (opt.step && !fgets(line, sizeof(line), stdin))
		opt.step = false;
}

static void quiet(int level, const char *text, void *data)
{
	if (opt.verbose || level == 4) /* GGML_LOG_LEVEL_ERROR */
		fputs(text, stderr);
}

static void *open_library(const char *prefix, const char *const *names)
{
	char path[4096];

	for (; *names; names++) {
		snprintf(path, sizeof(path), "%s/%s", prefix, *names);
		void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
		if (library)
			return library;
	}
	die("%s", dlerror());
}

static void load_api(void)
{
	static const char *const ggml[] = {"libggml.cuda.v0.5.0.so", "libggml.so", NULL};
	static const char *const llama[] = {"libllama.cuda.v0.5.0.so", "libllama.so", NULL};

	open_library(opt.libs, ggml);
	open_library(opt.libs, llama);
#define X(ret, name, args) \
	*(void **)&api.name = dlsym(RTLD_DEFAULT, #name); \
	if (!api.name) \
		die("no %s in %s", #name, opt.libs);
	API(X)
#undef X
}

/* The defaults of a parameter struct; refused unless exactly `size` bytes at the front belong to
 * it. */
static void defaults(void (*make)(struct big *), size_t size, struct big *ret)
{
	static struct big a, b;
	size_t end = 0;

	/*
	 * A struct of this size is returned through a pointer to the caller's storage. Two calls
	 * into storage with different fillings: bytes that come out equal were written.
	 */
	memset(&a, 0xaa, sizeof(a));
	memset(&b, 0x55, sizeof(b));
	make(&a);
	make(&b);
	for (size_t i = 0; i < sizeof(a); i++)
		if (a.bytes[i] == b.bytes[i])
			end = i + 1;
	if (end > size || end + 8 <= size)
		die("a parameter struct has %zu bytes, %zu expected: another build of libllama",
			end, size);
	*ret = a;
}

static void expect_int(const struct big *p, int at, int value)
{
	int have;

	memcpy(&have, p->bytes + at, sizeof(have));
	if (have != value)
		die("llama_context_params at %d is %d, %d expected: another build of libllama", at,
			have, value);
}

static void set_int(struct big *p, int at, int value)
{
	memcpy(p->bytes + at, &value, sizeof(value));
}

static void make_context(void)
{
	struct big p;
	struct context_params params;

	defaults(api.llama_context_default_params, CONTEXT_PARAMS_BYTES, &p);
	expect_int(&p, AT_N_CTX, 512);
	expect_int(&p, AT_N_UBATCH, 512);
	expect_int(&p, AT_N_SEQ_MAX, 1);
	expect_int(&p, AT_FLASH, -1);
	expect_int(&p, AT_TYPE_K, 1);
	expect_int(&p, AT_TYPE_V, 1);
	if (p.bytes[AT_SWA_FULL] != 1 || p.bytes[AT_UNIFIED] > 1)
		die("llama_context_params has other flags: another build of libllama");
	set_int(&p, AT_N_CTX, opt.n_ctx);
	set_int(&p, AT_N_SEQ_MAX, opt.n_seq);
	set_int(&p, AT_FLASH, opt.flash);
	set_int(&p, AT_TYPE_K, opt.type);
	set_int(&p, AT_TYPE_V, opt.flash ? opt.type : 1);
	p.bytes[AT_SWA_FULL] = !opt.small_swa;
	p.bytes[AT_UNIFIED] = opt.unified;
	memcpy(&params, &p, sizeof(params));
	context = api.llama_init_from_model(model, params);
	if (!context)
		die("no context");
	memory = api.llama_get_memory(context);
}

static int next_pos(int seq)
{
	return api.llama_memory_seq_pos_max(memory, seq) + 1;
}

static void put(struct batch *b, int token, int pos, int seq, bool logits)
{
	int i = b->n_tokens++;

	b->token[i] = token;
	b->pos[i] = pos;
	b->n_seq_id[i] = 1;
	b->seq_id[i][0] = seq;
	b->logits[i] = logits;
}

/* The most likely token after entry `i` of the last batch; the first of equals. */
static int pick(int i)
{
	const float *logits = api.llama_get_logits_ith(context, i);
	int n = api.llama_vocab_n_tokens(api.llama_model_get_vocab(model)), best = 0;

	if (!logits)
		die("no logits");
	for (int t = 1; t < n; t++)
		if (logits[t] > logits[best])
			best = t;
	return best;
}

static void decode(struct batch b)
{
	int error = api.llama_decode(context, b);

	if (error)
		die("llama_decode: %d", error);
}

static void prompt(struct batch b, int n, int seq)
{
	int pos = next_pos(seq);

	for (int done = 0; done < n;) {
		b.n_tokens = 0;
		for (; done < n && b.n_tokens < BATCH_TOKENS; done++)
			put(&b, (done * 7 + seq) % 26, pos + done, seq, done == n - 1);
		decode(b);
	}
}

/* One token per sequence and call, first_seq..last_seq decoded together. */
static void generate(struct batch b, int n, int first_seq, int last_seq)
{
	int token[64] = {0};

	for (int i = 0; i < n; i++) {
		b.n_tokens = 0;
		for (int s = first_seq; s <= last_seq; s++)
			put(&b, token[s], next_pos(s), s, true);
		decode(b);
		for (int s = first_seq; s <= last_seq; s++) {
			token[s] = pick(s - first_seq);
			if (opt.tokens)
				fprintf(opt.tokens, "%d\n", token[s]);
		}
	}
}

static void erase(int from, int to, int seq)
{
	if (!api.llama_memory_seq_rm(memory, seq, from, to))
		die("nothing erased");
	api.llama_memory_seq_add(memory, seq, to, -1, from - to);
}

static void save(int seq)
{
	free(saved);
	saved_size = api.llama_state_seq_get_size(context, seq);
	saved = malloc(saved_size);
	if (!saved || api.llama_state_seq_get_data(context, saved, saved_size, seq) != saved_size)
		die("state of sequence %d not saved", seq);
}

static void load(int seq)
{
	if (!saved || !api.llama_state_seq_set_data(context, saved, saved_size, seq))
		die("state of sequence %d not loaded", seq);
}

/* "name", "name=a" or "name=a:b", and a sequence behind '@'. */
static void run_step(struct batch b, const char *step)
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
	if (!strcmp(name, "prompt"))
		prompt(b, a, seq);
	else if (!strcmp(name, "generate"))
		generate(b, a, seq, seq);
	else if (!strcmp(name, "together"))
		generate(b, a, 0, opt.n_seq - 1);
	else if (!strcmp(name, "clear"))
		api.llama_memory_clear(memory, true);
	else if (!strcmp(name, "forget"))
		api.llama_memory_clear(memory, false);
	else if (!strcmp(name, "erase"))
		erase(a, to, seq);
	else if (!strcmp(name, "copy"))
		api.llama_memory_seq_cp(memory, a, to, -1, -1);
	else if (!strcmp(name, "save"))
		save(seq);
	else if (!strcmp(name, "load"))
		load(seq);
	else
		die("unknown step %s", step);
	phase(step);
}

static void usage(void)
{
	fputs("usage: llama-front --libs DIR --model FILE [options] STEP...\n"
	      "  --ctx N --seqs N --unified --flash 0|1|-1 --cache f16|q8_0|q4_0 --small-swa\n"
	      "  --step (wait for a line on stdin after each phase) --tokens FILE --verbose\n"
	      "steps: prompt=N generate=N together=N clear forget erase=A:B copy=FROM:TO save "
	      "load,\n"
	      "  a sequence behind @ (prompt=20@1)\n",
		stderr);
	exit(2);
}

static int cache_type(const char *name)
{
	static const struct {
		const char *name;
		int type;
	} types[] = {{"f16", 1}, {"q4_0", 2}, {"q8_0", 8}};

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
		{NULL, 0, NULL, 0}};
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
			opt.n_ctx = atoi(optarg);
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
		default:
			usage();
		}
	}
	if (!opt.libs || !opt.model || opt.n_seq < 1 || opt.n_seq > 64)
		usage();
}

int main(int argc, char **argv)
{
	struct big p;
	struct model_params params;

	parse(argc, argv);
	load_api();
	api.llama_log_set(quiet, NULL);
	api.ggml_backend_load_all_from_path(opt.libs);
	api.llama_backend_init();
	defaults(api.llama_model_default_params, MODEL_PARAMS_BYTES, &p);
	memcpy(&params, &p, sizeof(params));
	phase("started");
	model = api.llama_model_load_from_file(opt.model, params);
	if (!model)
		die("no model");
	phase("loaded");
	make_context();
	phase("context");

	struct batch b = api.llama_batch_init(BATCH_TOKENS, 0, 1);
	for (int i = optind; i < argc; i++)
		run_step(b, argv[i]);
	api.llama_batch_free(b);
	api.llama_free(context);
	phase("freed");
	api.llama_model_free(model);
	phase("disposed");
	api.llama_backend_free();
	free(saved);
	if (opt.tokens && fclose(opt.tokens))
		die("tokens: %s", strerror(errno));
	return 0;
}
