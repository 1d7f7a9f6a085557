/* SPDX-License-Identifier: Apache-2.0 */
/*
 * front_api.c - the functions and parameter structs of libllama, for the builds of two years.
 *
 * No header of llama.cpp is used: parameter structs are opaque blobs. Their size is measured, and
 * where the few fields lie that are set here comes from a table, whose rows must agree with the
 * defaults that are found: another build is refused and not misread.
 */
#include "front.h"

#include <dlfcn.h>
#include <glob.h>
#include <limits.h>
#include <string.h>

/* The longest parameter struct and then some: a callee reads its part of it. */
struct big {
	unsigned char bytes[512];
};

/* clang-format off */
/* What every build has. */
#define API(X) \
	X(void, llama_backend_init, (void)) X(void, llama_backend_free, (void)) \
	X(void, llama_log_set, (void (*)(int, const char *, void *), void *)) \
	X(void, llama_model_default_params, (struct big *)) \
	X(void, llama_context_default_params, (struct big *)) \
	X(void, llama_free, (void *)) \
	X(struct batch, llama_batch_init, (int32_t, int32_t, int32_t)) \
	X(void, llama_batch_free, (struct batch)) \
	X(int32_t, llama_decode, (void *, struct batch)) \
	X(float *, llama_get_logits_ith, (void *, int32_t)) \
	X(size_t, llama_state_seq_get_size, (void *, int32_t)) \
	X(size_t, llama_state_seq_get_data, (void *, uint8_t *, size_t, int32_t)) \
	X(size_t, llama_state_seq_set_data, (void *, const uint8_t *, size_t, int32_t))
/* What got another name: the newest first. Those of the cache took the context once. */
#define RENAMED(X) \
	X(void *, model_load, (const char *, struct big), \
		"llama_model_load_from_file", "llama_load_model_from_file", NULL) \
	X(void *, context_new, (void *, struct big), \
		"llama_init_from_model", "llama_new_context_with_model", NULL) \
	X(void, model_free, (void *), "llama_model_free", "llama_free_model", NULL) \
	X(void, clear, (void *, bool), \
		"llama_memory_clear", "llama_kv_self_clear", "llama_kv_cache_clear") \
	X(bool, seq_rm, (void *, int32_t, int32_t, int32_t), \
		"llama_memory_seq_rm", "llama_kv_self_seq_rm", "llama_kv_cache_seq_rm") \
	X(void, seq_add, (void *, int32_t, int32_t, int32_t, int32_t), \
		"llama_memory_seq_add", "llama_kv_self_seq_add", "llama_kv_cache_seq_add") \
	X(void, seq_cp, (void *, int32_t, int32_t, int32_t, int32_t), \
		"llama_memory_seq_cp", "llama_kv_self_seq_cp", "llama_kv_cache_seq_cp") \
	X(int32_t, seq_pos_max, (void *, int32_t), "llama_memory_seq_pos_max", \
		"llama_kv_self_seq_pos_max", "llama_kv_cache_seq_pos_max")
/* What only newer builds have. */
#define OPTIONAL(X) \
	X(void, ggml_backend_load_all_from_path, (const char *)) \
	X(const void *, llama_model_get_vocab, (const void *)) \
	X(int32_t, llama_vocab_n_tokens, (const void *)) \
	X(int32_t, llama_n_vocab, (const void *)) \
	X(void *, llama_get_memory, (const void *))
/* clang-format on */

static struct {
#define X(ret, name, args) ret(*name) args;
	API(X)
	OPTIONAL(X)
#undef X
#define X(ret, name, args, ...) ret(*name) args;
	RENAMED(X)
#undef X
} api;

/* Where the fields lie; -1: there is none. */
struct layout {
	const char *since;
	size_t end; /* of llama_context_params: behind the last byte that is set */
	int flash;
	bool flash_is_byte; /* a bool, false by default; else an int, -1 */
	int type_k, type_v, swa_full, unified;
	int layers; /* in llama_model_params */
};

/* The same in all: */
enum { AT_N_CTX = 0, AT_N_UBATCH = 8, AT_N_SEQ_MAX = 12 };

static const struct layout layouts[] = {
	{"v0.5", 160, 52, false, 104, 108, 132, 133, 16},
	{"b8000", 136, 36, false, 88, 92, 116, 117, 16},
	{"b6300", 118, 36, false, 88, 92, 116, 117, 16},
	{"b5500", 118, 114, true, 88, 92, 117, -1, 16},
	{"b3700", 120, 99, true, 88, 92, -1, -1, 0},
};

static const struct layout *layout;

static void quiet(int level, const char *text, void *data)
{
	if (opt.verbose || level == 4) /* GGML_LOG_LEVEL_ERROR */
		fputs(text, stderr);
}

/* The plain name, or the one that carries the release. */
static void open_library(const char *stem)
{
	char pattern[PATH_MAX];
	glob_t found;

	snprintf(pattern, sizeof(pattern), "%s/%s.so", opt.libs, stem);
	if (dlopen(pattern, RTLD_NOW | RTLD_GLOBAL))
		return;
	const char *why = dlerror();
	snprintf(pattern, sizeof(pattern), "%s/%s.cuda.*.so", opt.libs, stem);
	if (glob(pattern, 0, NULL, &found))
		die("%s", why);
	if (!dlopen(found.gl_pathv[0], RTLD_NOW | RTLD_GLOBAL))
		die("%s", dlerror());
	globfree(&found);
}

static void *find(const char *const *names)
{
	for (int i = 0; i < 3 && names[i]; i++) {
		void *at = dlsym(RTLD_DEFAULT, names[i]);
		if (at)
			return at;
	}
	die("no %s in %s", names[0], opt.libs);
}

void api_start(void)
{
	open_library("libggml");
	open_library("libllama");
#define X(ret, name, args) *(void **)&api.name = find((const char *const[]){#name, NULL});
	API(X)
#undef X
#define X(ret, name, args, ...) *(void **)&api.name = find((const char *const[]){__VA_ARGS__});
	RENAMED(X)
#undef X
#define X(ret, name, args) *(void **)&api.name = dlsym(RTLD_DEFAULT, #name);
	OPTIONAL(X)
#undef X
	if (!api.llama_vocab_n_tokens && !api.llama_n_vocab)
		die("no llama_n_vocab in %s", opt.libs);
	api.llama_log_set(quiet, NULL);
	if (api.ggml_backend_load_all_from_path)
		api.ggml_backend_load_all_from_path(opt.libs);
	api.llama_backend_init();
}

void api_end(void)
{
	api.llama_backend_free();
}

/*
 * The defaults of a parameter struct; the end of it. A struct of this size is returned through a
 * pointer to the caller's storage: two calls into storage with different fillings, and what comes
 * out equal was written.
 */
static size_t defaults(void (*make)(struct big *), struct big *ret)
{
	static struct big a, b;
	size_t end = 0;

	memset(&a, 0xaa, sizeof(a));
	memset(&b, 0x55, sizeof(b));
	make(&a);
	make(&b);
	for (size_t i = 0; i < sizeof(a); i++)
		if (a.bytes[i] == b.bytes[i])
			end = i + 1;
	*ret = a;
	return end;
}

static int get_int(const struct big *p, int at)
{
	int value;

	memcpy(&value, p->bytes + at, sizeof(value));
	return value;
}

static void set_int(struct big *p, int at, int value)
{
	memcpy(p->bytes + at, &value, sizeof(value));
}

/* True if all the defaults are where this layout says. */
static bool agrees(const struct layout *l, const struct big *p, size_t end)
{
	if (l->end != end || get_int(p, AT_N_CTX) != 512 || get_int(p, AT_N_UBATCH) != 512 ||
		get_int(p, AT_N_SEQ_MAX) != 1 || get_int(p, l->type_k) != 1 ||
		get_int(p, l->type_v) != 1)
		return false;
	if (l->flash_is_byte ? p->bytes[l->flash] != 0 : get_int(p, l->flash) != -1)
		return false;
	return (l->swa_full < 0 || p->bytes[l->swa_full] == 1) &&
	       (l->unified < 0 || p->bytes[l->unified] == 0);
}

static struct big context_params(void)
{
	struct big p;
	size_t end = defaults(api.llama_context_default_params, &p);

	for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]) && !layout; i++)
		if (agrees(&layouts[i], &p, end))
			layout = &layouts[i];
	if (!layout)
		die("llama_context_params is unknown (%zu bytes): another build of libllama", end);
	return p;
}

/* What `--fit` of llama-server calls; the newest build has it in the library of its programs. */
#define FIT \
	"_Z17common_fit_paramsPKcP18llama_model_paramsP20llama_context_paramsPfP32llama_model_" \
	"tensor_buft_overridePmjPK22common_fit_extra_model14ggml_log_level"

int api_fit(const char *path)
{
	static float split[256];      /* one for each device */
	static uint64_t margins[256]; /* bytes, likewise */
	static uint64_t overrides[8192][2];
	struct big model, context = context_params();
	int (*fit)(const char *, struct big *, struct big *, float *, void *, uint64_t *, unsigned,
		const void *, int);
	int status;

	open_library("libllama-common");
	*(void **)&fit = dlsym(RTLD_DEFAULT, FIT);
	if (!fit)
		die("no common_fit_params in %s", opt.libs);
	defaults(api.llama_model_default_params, &model);
	set_int(&context, AT_N_CTX, 0);
	for (int i = 0; i < 256; i++)
		margins[i] = 256ull << 20;
	status = fit(path, &model, &context, split, overrides, margins, 4096, NULL, 3);
	if (status)
		die("the fit has failed: %d", status);
	return get_int(&context, AT_N_CTX);
}

void *api_model(const char *path)
{
	struct big p;

	context_params();
	defaults(api.llama_model_default_params, &p);
	set_int(&p, layout->layers, 999);
	void *model = api.model_load(path, p);
	if (!model)
		die("no model");
	return model;
}

void api_free_model(void *model)
{
	api.model_free(model);
}

bool api_context(void *model, int n_ctx, struct front_context *ret)
{
	struct big p = context_params();

	if (opt.unified && layout->unified < 0)
		opt.unified = false; /* these builds know nothing else */
	set_int(&p, AT_N_CTX, n_ctx);
	set_int(&p, AT_N_SEQ_MAX, opt.n_seq);
	if (layout->flash_is_byte)
		p.bytes[layout->flash] = opt.flash != 0;
	else
		set_int(&p, layout->flash, opt.flash);
	set_int(&p, layout->type_k, opt.type);
	set_int(&p, layout->type_v, opt.flash ? opt.type : 1);
	if (layout->swa_full >= 0)
		p.bytes[layout->swa_full] = !opt.small_swa;
	if (layout->unified >= 0)
		p.bytes[layout->unified] = opt.unified;
	void *context = api.context_new(model, p);
	if (!context)
		return false;
	*ret = (struct front_context){.model = model,
		.context = context,
		.memory = api.llama_get_memory && dlsym(RTLD_DEFAULT, "llama_memory_clear")
				  ? api.llama_get_memory(context)
				  : context,
		.n_ctx = n_ctx};
	return true;
}

void api_free_context(struct front_context *c)
{
	api.llama_free(c->context);
	*c = (struct front_context){0};
}

struct batch api_batch(void)
{
	return api.llama_batch_init(FRONT_BATCH, 0, 1);
}

void api_free_batch(struct batch b)
{
	api.llama_batch_free(b);
}

int api_decode(const struct front_context *c, struct batch b)
{
	return api.llama_decode(c->context, b);
}

int api_pick(const struct front_context *c, int i)
{
	const float *logits = api.llama_get_logits_ith(c->context, i);
	int n = api.llama_vocab_n_tokens
			? api.llama_vocab_n_tokens(api.llama_model_get_vocab(c->model))
			: api.llama_n_vocab(c->model);
	int best = 0;

	if (!logits)
		die("no logits");
	for (int t = 1; t < n; t++)
		if (logits[t] > logits[best])
			best = t;
	return best;
}

int api_next_pos(const struct front_context *c, int seq)
{
	return api.seq_pos_max(c->memory, seq) + 1;
}

void api_clear(const struct front_context *c, bool data)
{
	if (data || c->memory != c->context)
		api.clear(c->memory, data);
	else
		api.seq_rm(c->memory, -1, -1, -1);
}

bool api_remove(const struct front_context *c, int seq, int from, int to)
{
	return api.seq_rm(c->memory, seq, from, to);
}

void api_shift(const struct front_context *c, int seq, int from, int to, int by)
{
	api.seq_add(c->memory, seq, from, to, by);
}

void api_copy(const struct front_context *c, int from, int to)
{
	api.seq_cp(c->memory, from, to, -1, -1);
}

size_t api_state_size(const struct front_context *c, int seq)
{
	return api.llama_state_seq_get_size(c->context, seq);
}

bool api_state_get(const struct front_context *c, void *to, size_t size, int seq)
{
	return api.llama_state_seq_get_data(c->context, to, size, seq) == size;
}

bool api_state_set(const struct front_context *c, const void *from, size_t size, int seq)
{
	return api.llama_state_seq_set_data(c->context, from, size, seq) != 0;
}
