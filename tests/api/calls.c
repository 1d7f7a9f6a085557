/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calls.c - every function of kvshim.h: what it does, and that wrong calls answer an error, say one
 * line and change nothing. Without the shim: that all of them say so.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim/kvshim.h"
#include "tests/api/log.h"
#include "tests/memory/check.h"

#define ERR(name, call) CHECK((call) == KVSHIM_ERR_##name)
#define GOOD(call) CHECK((call) == 0)

/* ---- what went to stderr ---- */

/* An error, and one line that says why. */
#define REFUSED(name, call) \
	do { \
		long before_ = log_lines(); \
		ERR(name, call); \
		CHECK(log_lines() == before_ + 1); \
	} while (0)

/* ---- tags ---- */

static struct kvshim_reservation row_of(uint64_t base)
{
	struct kvshim_reservation row = {.size = sizeof(row)};

	CHECK(kvshim_reservation_next(base - 1, &row) == 0 && row.base == base);
	return row;
}

static void fill(uint64_t at, size_t size, uint8_t value)
{
	OK(cuMemsetD8(at, value, size));
	OK(cuCtxSynchronize());
}

static bool holds(uint64_t at, size_t size, uint8_t value)
{
	uint8_t *bytes = malloc(size);
	bool same = bytes && OK(cuMemcpyDtoH(bytes, at, size)) && all(bytes, size, value);

	free(bytes);
	return same;
}

static void tags(void)
{
	CUdeviceptr small, eager, native;
	uint64_t bytes = 7;

	GOOD(kvshim_tag_push("kv", KVSHIM_MODE_LAZY, 10));
	small = reserve(PAGE);
	GOOD(kvshim_tag_push("weights", KVSHIM_MODE_EAGER, 200));
	eager = reserve(BIG);
	GOOD(kvshim_tag_pop());
	GOOD(kvshim_tag_push("scratch", KVSHIM_MODE_NATIVE, 128));
	native = reserve(BIG);
	GOOD(kvshim_tag_pop());
	GOOD(kvshim_tag_pop());
	CHECK(!strcmp(row_of(small).tag, "kv") && row_of(small).priority == 10);
	CHECK(!strcmp(row_of(eager).tag, "weights") && row_of(eager).static_reason == 6);
	CHECK(kvshim_region_stats_get(native, NULL) < 0);

	fill(small, PAGE, 3);
	fill(eager, BIG, 4);
	GOOD(kvshim_tag_pause("weights", 1, &bytes));
	CHECK(bytes == BIG && row_of(eager).is_paused && row_of(eager).backed == 0);
	/* Other work does not bring it back; resume does. */
	fill(small, PAGE, 5);
	CHECK(row_of(eager).backed == 0);
	GOOD(kvshim_tag_resume("weights", &bytes));
	CHECK(bytes == BIG && !row_of(eager).is_paused);
	CHECK(holds(eager, BIG, 4));
	/* Dropped: it is zero, and cost no copy. */
	GOOD(kvshim_tag_pause("kv", 0, &bytes));
	CHECK(bytes == PAGE && row_of(small).evicted == 0 && row_of(small).backed == 0);
	GOOD(kvshim_tag_resume("kv", NULL));

	REFUSED(UNKNOWN, kvshim_tag_pause("nobody", 1, &bytes));
	CHECK(bytes == 0);
	REFUSED(INVALID, kvshim_tag_push("", KVSHIM_MODE_LAZY, 0));
	REFUSED(INVALID, kvshim_tag_push(NULL, KVSHIM_MODE_LAZY, 0));
	REFUSED(INVALID, kvshim_tag_push("x", 4, 0));
	REFUSED(INVALID, kvshim_tag_push("x", 0, 256));
	REFUSED(INVALID, kvshim_tag_pause("", 1, NULL));
	REFUSED(UNDERFLOW, kvshim_tag_pop());
	for (int i = 0; i < 16; i++)
		GOOD(kvshim_tag_push("deep", KVSHIM_MODE_KEEP, 128));
	REFUSED(NO_MEMORY, kvshim_tag_push("deep", KVSHIM_MODE_KEEP, 128));
	for (int i = 0; i < 16; i++)
		GOOD(kvshim_tag_pop());
	OK(cuMemFree(small));
	OK(cuMemFree(eager));
	OK(cuMemFree(native));
}

/* ---- regions ---- */

static struct kvshim_region_stats stats_of(uint64_t region)
{
	struct kvshim_region_stats stats = {.size = sizeof(stats)};

	GOOD(kvshim_region_stats_get(region, &stats));
	return stats;
}

static void regions(void)
{
	CUdeviceptr kv = reserve(BIG);
	struct kvshim_range range = {kv, PAGE / 2, PAGE / 2};
	struct kvshim_region_desc desc = {sizeof(desc), 16, 1, &range, 0, 0, "kv"};
	int64_t blocks[4] = {0, 1, 2, 3}, twice[2] = {2, 2}, bad[2] = {1, 16}, negative = -1;
	uint64_t region = 0, other;

	GOOD(kvshim_region_declare(&desc, &region));
	GOOD(kvshim_touch(region, blocks, 4));
	GOOD(kvshim_touch(region, blocks, 2));
	CHECK(stats_of(region).live == 4 && stats_of(region).wanted == 2 * PAGE);
	REFUSED(UNKNOWN, kvshim_touch(region, bad, 2));
	REFUSED(UNKNOWN, kvshim_touch(region, &negative, 1));
	REFUSED(INVALID, kvshim_touch(region, blocks, -1));
	REFUSED(INVALID, kvshim_touch(region, NULL, 1));
	REFUSED(UNKNOWN, kvshim_touch(region + 1, blocks, 1));
	REFUSED(UNKNOWN, kvshim_release(region, twice, 2, 0));
	REFUSED(UNKNOWN, kvshim_release(region, bad, 2, 0));
	REFUSED(INVALID, kvshim_release(region, blocks, 1, -1));
	REFUSED(INVALID, kvshim_release(region, blocks, 1, 1001));
	CHECK(stats_of(region).live == 4 && stats_of(region).wanted == 2 * PAGE);
	GOOD(kvshim_release(region, blocks, 1, 0));
	REFUSED(UNKNOWN, kvshim_release(region, blocks, 1, 0)); /* double free */
	CHECK(stats_of(region).wanted == 2 * PAGE); /* its neighbour lives on the page */
	GOOD(kvshim_release(region, blocks + 1, 1, 2));
	CHECK(stats_of(region).waiting == 1 && stats_of(region).live == 3);
	GOOD(kvshim_step(region));
	CHECK(stats_of(region).wanted == 2 * PAGE);
	GOOD(kvshim_step(region));
	CHECK(stats_of(region).wanted == PAGE && stats_of(region).live == 2);

	/* By bytes. */
	GOOD(kvshim_touch_bytes(region, kv + 8 * PAGE / 2 + 5, 1));
	CHECK(stats_of(region).live == 3);
	GOOD(kvshim_release_bytes(region, kv + 8 * PAGE / 2 + 5, PAGE)); /* block 8 is not whole */
	CHECK(stats_of(region).live == 3);
	GOOD(kvshim_release_bytes(region, kv, BIG));
	CHECK(stats_of(region).live == 0 && stats_of(region).wanted == 0);
	REFUSED(INVALID, kvshim_touch_bytes(region, kv, -1));
	REFUSED(BOUNDS, kvshim_touch_bytes(region, kv - 1, 1));
	REFUSED(BOUNDS, kvshim_touch_bytes(region, kv, BIG + 1));

	/* Geometry. */
	REFUSED(OVERLAP, kvshim_region_declare(&desc, &other));
	GOOD(kvshim_region_end(region));
	REFUSED(UNKNOWN, kvshim_region_end(region));
	range.stride = PAGE / 4;
	REFUSED(OVERLAP, kvshim_region_declare(&desc, &other));
	range.stride = PAGE;
	REFUSED(BOUNDS, kvshim_region_declare(&desc, &other));
	range.stride = UINT64_MAX / 2;
	REFUSED(BOUNDS, kvshim_region_declare(&desc, &other));
	range = (struct kvshim_range){12345, PAGE, PAGE};
	REFUSED(FOREIGN, kvshim_region_declare(&desc, &other));
	range = (struct kvshim_range){kv, PAGE, 0};
	REFUSED(INVALID, kvshim_region_declare(&desc, &other));
	desc.n_blocks = 0;
	REFUSED(INVALID, kvshim_region_declare(&desc, &other));
	desc.size = 3;
	REFUSED(INVALID, kvshim_region_declare(&desc, &other));
	REFUSED(INVALID, kvshim_region_declare(NULL, &other));

	/* The program frees the memory of a region. */
	range = (struct kvshim_range){kv, PAGE, PAGE};
	desc.size = sizeof(desc);
	desc.n_blocks = 8;
	GOOD(kvshim_region_declare(&desc, &region));
	OK(cuMemFree(kv));
	ERR(GONE, kvshim_touch(region, blocks, 1));
	GOOD(kvshim_region_end(region));
}

/* ---- numbers ---- */

/* Nothing is written behind the structure that a program has. */
#define GUARDED(type, call) \
	do { \
		struct { \
			struct type it; \
			uint64_t guard; \
		} g; \
		memset(&g, 0xa5, sizeof(g)); \
		g.it.size = sizeof(g.it); \
		GOOD(call); \
		CHECK(g.it.size == sizeof(g.it) && g.guard == 0xa5a5a5a5a5a5a5a5u); \
	} while (0)

static void guarded(uint64_t kv)
{
	struct kvshim_range range = {kv, PAGE, PAGE};
	struct kvshim_region_desc desc = {sizeof(desc), 8, 1, &range, 0, 0, "kv"};
	struct kvshim_pool_desc pool = {sizeof(pool), BIG, 0, 0, "pool"};
	struct kvshim_model_desc model = {sizeof(model), 4, 8, 64, 2, 0, 1024, 0, 0, "llama"};
	uint64_t region, p, m, cache = 0;

	GUARDED(kvshim_stats, kvshim_stats_get(0, &g.it));
	GUARDED(kvshim_quota, kvshim_quota_get(0, &g.it));
	GUARDED(kvshim_reservation, kvshim_reservation_next(kv - 1, &g.it));
	GOOD(kvshim_region_declare(&desc, &region));
	GUARDED(kvshim_region_stats, kvshim_region_stats_get(region, &g.it));
	GOOD(kvshim_region_end(region));
	GOOD(kvshim_pool_create(&pool, &p));
	GOOD(kvshim_model_register(p, &model, &m));
	GUARDED(kvshim_pool_stats, kvshim_pool_stats_get(p, &g.it));
	GUARDED(kvshim_model_stats, kvshim_model_stats_get(m, &g.it));
	GUARDED(kvshim_cache, (kvshim_cache_alloc(m, 1, 0, 0, &g.it) || (cache = g.it.id) == 0));
	GUARDED(kvshim_cache, kvshim_cache_extend(cache, 2, 0, 0, &g.it));
	GOOD(kvshim_cache_free(cache));
	GOOD(kvshim_pool_destroy(p));
}

static void numbers(void)
{
	CUdeviceptr kv = reserve(BIG);
	struct kvshim_stats stats = {.size = sizeof(stats)};
	struct kvshim_quota quota = {.size = sizeof(quota)};
	struct {
		struct kvshim_stats stats;
		uint64_t later; /* of a version to come */
	} newer = {.stats.size = sizeof(newer), .later = 9};
	struct pollfd readable = {.events = POLLIN};
	uint64_t count;

	fill(kv, PAGE, 1);
	GOOD(kvshim_stats_get(0, &stats));
	CHECK(stats.reserved == BIG && stats.backed == PAGE && stats.reservations == 1);
	GOOD(kvshim_stats_get(0, &newer.stats));
	CHECK(newer.stats.backed == PAGE && newer.later == 0);
	/* An older program: what it does not know is not written. */
	newer.stats = (struct kvshim_stats){.size = 24, .backed_peak = 77};
	GOOD(kvshim_stats_get(0, &newer.stats));
	CHECK(newer.stats.backed == PAGE && newer.stats.backed_peak == 77);
	GOOD(kvshim_quota_get(0, &quota));
	CHECK(quota.backed == PAGE && quota.growth == BIG - PAGE && quota.limit == BIG);
	guarded(kv);
	REFUSED(DEVICE, kvshim_stats_get(9, &stats));
	REFUSED(DEVICE, kvshim_stats_get(-1, &stats));
	REFUSED(DEVICE, kvshim_quota_get(64, &quota));
	REFUSED(INVALID, kvshim_stats_get(0, NULL));
	stats.size = 0;
	REFUSED(INVALID, kvshim_stats_get(0, &stats));

	/* Whoever watches the limit hears of a change. */
	readable.fd = kvshim_quota_fd(0);
	CHECK(readable.fd > 0 && kvshim_quota_fd(0) == readable.fd);
	CHECK(poll(&readable, 1, 0) == 0 || read(readable.fd, &count, 8) == 8);
	OK(cuMemFree(kv));
	CHECK(poll(&readable, 1, 60000) == 1);
	CHECK(read(readable.fd, &count, 8) == 8);
	ERR(UNKNOWN, kvshim_reservation_next(0, &(struct kvshim_reservation){.size = 400}));
}

/* ---- pools ---- */

static const struct kvshim_model_desc llama = {
	sizeof(llama), 4, 8, 64, 2, 0, 1024, 0, 0, "llama"}; /* 8 KiB per token */
#define TOKEN 8192u

static void *free_later(void *cache)
{
	usleep(20000);
	GOOD(kvshim_cache_free(*(uint64_t *)cache));
	return NULL;
}

static void pool(void)
{
	struct kvshim_pool_desc desc = {sizeof(desc), BIG, 0, 0, "pool"};
	struct kvshim_pool_stats stats = {.size = sizeof(stats)};
	struct kvshim_model_stats of_model = {.size = sizeof(of_model)};
	struct kvshim_model_desc model = llama;
	struct kvshim_cache a = {sizeof(a), 0, 0, 0, 0, 0}, b = a, c = a;
	uint64_t id, m, second;
	pthread_t thread;

	CHECK(kvshim_model_token_bytes(&llama) == TOKEN);
	GOOD(kvshim_pool_create(&desc, &id));
	GOOD(kvshim_model_register(id, &model, &m));
	model.max_bytes = 100 * TOKEN;
	GOOD(kvshim_model_register(id, &model, &second));
	GOOD(kvshim_cache_alloc(m, 256, KVSHIM_SHORT_FAIL, 0, &a));
	CHECK(a.tokens == 256 && !a.is_short && a.room == BIG / TOKEN);
	fill(a.address, 256 * TOKEN, 6);
	GOOD(kvshim_cache_extend(a.id, 512, KVSHIM_SHORT_FAIL, 0, &a));
	CHECK(a.tokens == 512 && holds(a.address, 256 * TOKEN, 6));
	GOOD(kvshim_pool_stats_get(id, &stats));
	CHECK(stats.used == 512 * TOKEN && stats.wanted == 2 * PAGE && stats.n_caches == 1);
	/* The model's own maximum. */
	ERR(LIMIT, kvshim_cache_alloc(second, 101, KVSHIM_SHORT_FAIL, 0, &c));
	GOOD(kvshim_cache_alloc(second, 101, KVSHIM_SHORT_DEGRADE, 0, &c));
	CHECK(c.tokens == 100 && c.is_short);
	/* Short of room: fail, degrade, wait. */
	GOOD(kvshim_cache_alloc(m, 1024, KVSHIM_SHORT_FAIL, 0, &b));
	ERR(NO_MEMORY, kvshim_cache_alloc(m, 1000, KVSHIM_SHORT_FAIL, 0, &b));
	ERR(TIMEOUT, kvshim_cache_alloc(m, 1000, KVSHIM_SHORT_WAIT, 20, &b));
	ERR(NO_MEMORY, kvshim_cache_extend(a.id, 600, KVSHIM_SHORT_FAIL, 0, &a));
	CHECK(pthread_create(&thread, NULL, free_later, &b.id) == 0);
	GOOD(kvshim_cache_alloc(m, 1000, KVSHIM_SHORT_WAIT, 60000, &b));
	pthread_join(thread, NULL);
	GOOD(kvshim_model_stats_get(m, &of_model));
	CHECK(of_model.n_caches == 2 && of_model.failed == 3 && of_model.token_bytes == TOKEN);
	GOOD(kvshim_pool_rebalance(id));

	REFUSED(UNKNOWN, kvshim_cache_free(a.address)); /* a foreign pointer */
	REFUSED(INVALID, kvshim_cache_alloc(m, -5, KVSHIM_SHORT_FAIL, 0, &c));
	REFUSED(INVALID, kvshim_cache_alloc(m, 5, 3, 0, &c));
	REFUSED(INVALID, kvshim_cache_alloc(m, 5, 0, 0, NULL));
	REFUSED(TOO_LONG, kvshim_cache_alloc(m, 1025, KVSHIM_SHORT_FAIL, 0, &c));
	REFUSED(UNKNOWN, kvshim_cache_alloc(m + 7, 5, KVSHIM_SHORT_FAIL, 0, &c));
	REFUSED(INVALID, kvshim_cache_extend(a.id, 512, KVSHIM_SHORT_FAIL, 0, &a));
	REFUSED(IN_USE, kvshim_pool_destroy(id));
	REFUSED(IN_USE, kvshim_model_unregister(m));
	GOOD(kvshim_cache_free(a.id));
	REFUSED(UNKNOWN, kvshim_cache_free(a.id));
	REFUSED(UNKNOWN, kvshim_cache_extend(a.id, 600, KVSHIM_SHORT_FAIL, 0, &a));
	GOOD(kvshim_cache_free(b.id));
	GOOD(kvshim_cache_free(c.id));
	GOOD(kvshim_pool_stats_get(id, &stats));
	CHECK(stats.used == 0 && stats.wanted == 0 && stats.n_free == 1 && stats.degraded == 1);
	GOOD(kvshim_model_unregister(second));
	REFUSED(UNKNOWN, kvshim_model_unregister(second));
	model.name[0] = '\0';
	REFUSED(INVALID, kvshim_model_register(id, &model, &second));
	model = llama;
	model.min_bytes = BIG + 1;
	REFUSED(BOUNDS, kvshim_model_register(id, &model, &second));
	GOOD(kvshim_pool_destroy(id));
	REFUSED(UNKNOWN, kvshim_pool_destroy(id));
	desc.capacity = 0;
	REFUSED(INVALID, kvshim_pool_create(&desc, &id));
	desc.capacity = 1ull << 50;
	REFUSED(NO_MEMORY, kvshim_pool_create(&desc, &id));
}

/* Requests that come regularly find their memory backed: hits rise. */
static void prediction(void)
{
	struct kvshim_pool_desc desc = {sizeof(desc), BIG, KVSHIM_POOL_PREDICT, 0, "pool"};
	struct kvshim_pool_stats stats = {.size = sizeof(stats)};
	struct kvshim_cache cache = {sizeof(cache), 0, 0, 0, 0, 0};
	uint64_t id, m;

	GOOD(kvshim_pool_create(&desc, &id));
	GOOD(kvshim_model_register(id, &llama, &m));
	for (int i = 0; i < 2000 && stats.ahead == 0; i++) {
		GOOD(kvshim_cache_alloc(m, 100, KVSHIM_SHORT_FAIL, 0, &cache));
		usleep(5000);
		GOOD(kvshim_cache_free(cache.id));
		GOOD(kvshim_pool_stats_get(id, &stats));
	}
	CHECK(stats.ahead > 0 && stats.hits + stats.misses == stats.requests);
	GOOD(kvshim_pool_destroy(id));
}

static void in_a_child(void)
{
	CUdeviceptr kv = reserve(BIG);
	struct kvshim_stats stats = {.size = sizeof(stats)};
	int status = -1;
	pid_t child = fork();

	if (child == 0) {
		long before = log_lines();

		_exit(kvshim_stats_get(0, &stats) == KVSHIM_ERR_INERT &&
					kvshim_touch(1, NULL, 0) == KVSHIM_ERR_INERT &&
					kvshim_active() == KVSHIM_ERR_INERT &&
					log_lines() == before + 1
				? 0
				: 1);
	}
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	OK(cuMemFree(kv));
}

/* The operator's maximum (8 MiB, KVSHIM_MAX) is in the quota, and a touch beyond it changes
 * nothing. */
static void limited(void)
{
	CUdeviceptr kv = reserve(BIG);
	struct kvshim_range range = {kv, PAGE, PAGE};
	struct kvshim_region_desc desc = {sizeof(desc), 8, 1, &range, 0, 0, "kv"};
	struct kvshim_quota quota = {.size = sizeof(quota)};
	int64_t blocks[8] = {0, 1, 2, 3, 4, 5, 6, 7};
	uint64_t region;

	GOOD(kvshim_quota_get(0, &quota));
	CHECK(quota.backed == 0 && quota.limit == 8 * MIB);
	GOOD(kvshim_region_declare(&desc, &region));
	GOOD(kvshim_touch(region, blocks, 2));
	ERR(NO_MEMORY, kvshim_touch(region, blocks, 8));
	CHECK(stats_of(region).live == 2 && stats_of(region).wanted == 2 * PAGE);
	GOOD(kvshim_touch(region, blocks, 4));
	GOOD(kvshim_quota_get(0, &quota));
	CHECK(quota.backed == 4 * PAGE && quota.growth == 0);
	/* What was released makes room, though it may not have gone yet. */
	GOOD(kvshim_release(region, blocks, 4, 0));
	for (int i = 0; i < 60000 && kvshim_touch(region, blocks + 4, 4) == KVSHIM_ERR_NO_MEMORY;
		i++)
		usleep(1000); /* the agent may be at it */
	CHECK(stats_of(region).live == 4);
	GOOD(kvshim_region_end(region));
	OK(cuMemFree(kv));
}

/* What is backed for requests to come goes when one that has come needs the memory (8 MiB). */
static void limited_pool(void)
{
	struct kvshim_pool_desc desc = {sizeof(desc), BIG, KVSHIM_POOL_PREDICT, 0, "pool"};
	struct kvshim_cache a = {sizeof(a), 0, 0, 0, 0, 0}, b = a, c = a;
	uint64_t id, m;

	GOOD(kvshim_pool_create(&desc, &id));
	GOOD(kvshim_model_register(id, &llama, &m));
	GOOD(kvshim_cache_alloc(m, PAGE / TOKEN, KVSHIM_SHORT_FAIL, 0, &a));
	GOOD(kvshim_cache_alloc(m, PAGE / TOKEN, KVSHIM_SHORT_FAIL, 0, &b));
	GOOD(kvshim_cache_free(a.id));
	GOOD(kvshim_cache_alloc(m, 3 * PAGE / TOKEN, KVSHIM_SHORT_WAIT, 60000, &c));
	CHECK(c.address > b.address);
	ERR(NO_MEMORY, kvshim_cache_alloc(m, PAGE / TOKEN, KVSHIM_SHORT_FAIL, 0, &a));
	GOOD(kvshim_cache_free(b.id));
	GOOD(kvshim_cache_free(c.id));
	GOOD(kvshim_pool_destroy(id));
}

/* KVSHIM_PREDICT=off overrules the program. */
static void unforeseen(void)
{
	struct kvshim_pool_desc desc = {sizeof(desc), BIG, KVSHIM_POOL_PREDICT, 0, "pool"};
	struct kvshim_pool_stats stats = {.size = sizeof(stats)};
	struct kvshim_cache cache = {sizeof(cache), 0, 0, 0, 0, 0};
	uint64_t id, m;

	GOOD(kvshim_pool_create(&desc, &id));
	GOOD(kvshim_model_register(id, &llama, &m));
	for (int i = 0; i < 30; i++) {
		GOOD(kvshim_cache_alloc(m, 100, KVSHIM_SHORT_FAIL, 0, &cache));
		GOOD(kvshim_cache_free(cache.id));
		usleep(2000);
		GOOD(kvshim_pool_stats_get(id, &stats));
		CHECK(stats.ahead == 0 && stats.wanted == 0);
	}
	GOOD(kvshim_pool_destroy(id));
}

static int without_the_shim(void)
{
	struct kvshim_cache cache = {sizeof(cache), 0, 0, 0, 0, 0};

	ERR(ABSENT, kvshim_version());
	ERR(ABSENT, kvshim_active());
	ERR(ABSENT, kvshim_tag_push("kv", KVSHIM_MODE_LAZY, 128));
	ERR(ABSENT, kvshim_tag_pop());
	ERR(ABSENT, kvshim_touch(1, NULL, 0));
	ERR(ABSENT, kvshim_quota_fd(0));
	ERR(ABSENT, kvshim_cache_alloc(1, 1, 0, 0, &cache));
	CHECK(!strcmp(kvshim_strerror(KVSHIM_ERR_ABSENT), "the shim is not in this process"));
	CHECK(kvshim_model_token_bytes(&llama) == TOKEN);
	return failures ? 1 : 0;
}

/* Which version the shim has, if it is not this program's. */
static int version(const char *of)
{
	return KVSHIM_API_VERSION + (!strcmp(of, "newer") ? 1 : !strcmp(of, "older") ? -1 : 0);
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "same"; /* newer, older: the shim; limited; absent */
	CUcontext context;
	CUdevice device;

	if (!strcmp(how, "absent"))
		return without_the_shim();
	/* Lines of the shim go to a file from here on. */
	close(2);
	if (mkstemp(log_path) != 2)
		return 1;
	CHECK(kvshim_version() == version(how) && kvshim_active() == 0);
	ERR(INERT, kvshim_touch(1, NULL, 0));
	OK(cuInit(0));
	OK(cuDeviceGet(&device, 0));
	OK(cuDevicePrimaryCtxRetain(&context, device));
	OK(cuCtxSetCurrent(context));
	CHECK(kvshim_active() == 1);
	if (!strcmp(how, "limited") || !strcmp(how, "unforeseen")) {
		if (!strcmp(how, "limited")) {
			says("the operator's maximum is in the quota", limited);
			says("expected requests do not stand against real ones", limited_pool);
		} else {
			says("the operator switches prediction off", unforeseen);
		}
		OK(cuDevicePrimaryCtxRelease(device));
		unlink(log_path);
		return failures ? 1 : 0;
	}
	says("tags choose, pause and resume", tags);
	says("regions keep what lives, and refuse what is wrong", regions);
	says("numbers are those of the shim, whatever version asks", numbers);
	says("a pool takes, grows, waits, degrades and refuses", pool);
	says("regular requests are expected", prediction);
	says("a forked child has no shim", in_a_child);
	OK(cuDevicePrimaryCtxRelease(device));
	unlink(log_path);
	return failures ? 1 : 0;
}
