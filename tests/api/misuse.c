/* SPDX-License-Identifier: Apache-2.0 */
/*
 * misuse.c - each row of the table of misuse in docs/api.md: its error, one line in the log, and
 * nothing else is different afterwards.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "shim/kvshim.h"
#include "tests/api/log.h"
#include "tests/memory/check.h"

/* ---- what the rows name ---- */

static uint64_t kv, kv2, spare, region, two, ended, pool, model, freed;
static struct kvshim_cache cache = {sizeof(cache), 0, 0, 0, 0, 0};

static const struct kvshim_region_desc *geometry(
	int64_t n_blocks, uint64_t address, uint64_t stride, uint64_t bytes)
{
	static struct kvshim_range range;
	static struct kvshim_region_desc desc;

	range = (struct kvshim_range){address, stride, bytes};
	desc = (struct kvshim_region_desc){
		sizeof(desc), (uint64_t)n_blocks, 1, &range, 0, UINT32_MAX, "wrong"};
	return &desc;
}
#define GEOMETRY geometry

static const struct kvshim_region_desc *cut(uint64_t size)
{
	static struct kvshim_region_desc desc;

	desc = *geometry(16, spare, 65536, 65536);
	desc.size = size;
	return &desc;
}
#define CUT cut

static const struct kvshim_model_desc *model_of(uint32_t layers, uint32_t heads, uint64_t min)
{
	static struct kvshim_model_desc desc;

	desc = (struct kvshim_model_desc){
		sizeof(desc), layers, heads, 64, 2, 0, 1024, min, 0, "wrong"};
	return &desc;
}
#define MODEL model_of

static int in_child(int error)
{
	_exit(-error);
}

static int of_child(pid_t child)
{
	int status = -1;

	waitpid(child, &status, 0);
	return WIFEXITED(status) ? -WEXITSTATUS(status) : 1;
}
static pid_t forked;
#define FORKED(call) ((forked = fork()) == 0 ? in_child(call) : of_child(forked))

static void set_up(void)
{
	struct kvshim_range ranges[2];
	struct kvshim_region_desc desc = {sizeof(desc), 16, 1, ranges, 0, UINT32_MAX, "kv"};
	struct kvshim_pool_desc of_pool = {sizeof(of_pool), BIG, 0, 0, "pool"};
	struct kvshim_cache other = {sizeof(other), 0, 0, 0, 0, 0};

	kv = reserve(BIG);
	kv2 = reserve(BIG);
	spare = reserve(BIG);
	ranges[0] = (struct kvshim_range){kv, PAGE / 2, PAGE / 2};
	CHECK(kvshim_region_declare(&desc, &region) == 0);
	CHECK(kvshim_touch(region, (int64_t[]){3, 4}, 2) == 0);
	desc.n_blocks = 2;
	ranges[0] = (struct kvshim_range){kv2 + BIG - PAGE, 4096, 4096};
	CHECK(kvshim_region_declare(&desc, &ended) == 0 && kvshim_region_end(ended) == 0);
	desc.n_ranges = 2;
	desc.flags = KVSHIM_REGION_PART;
	ranges[1] = (struct kvshim_range){kv2 + BIG - PAGE / 2, 4096, 4096};
	CHECK(kvshim_region_declare(&desc, &two) == 0);
	CHECK(kvshim_pool_create(&of_pool, &pool) == 0);
	CHECK(kvshim_model_register(pool, MODEL(4, 8, 0), &model) == 0);
	CHECK(kvshim_cache_alloc(model, 256, KVSHIM_SHORT_FAIL, 0, &cache) == 0);
	CHECK(kvshim_cache_alloc(model, 100, KVSHIM_SHORT_FAIL, 0, &other) == 0);
	CHECK(kvshim_cache_free(other.id) == 0);
	freed = other.id;
}

static void take_down(void)
{
	CHECK(kvshim_cache_free(cache.id) == 0);
	CHECK(kvshim_pool_destroy(pool) == 0);
	CHECK(kvshim_region_end(region) == 0 && kvshim_region_end(two) == 0);
	OK(cuMemFree(kv));
	OK(cuMemFree(kv2));
	OK(cuMemFree(spare));
}

/* ---- what must stay the same ---- */

struct everything {
	struct kvshim_stats stats;
	struct kvshim_region_stats regions[2];
	struct kvshim_pool_stats pool;
	struct kvshim_model_stats model;
	struct kvshim_reservation rows[5];
};

static struct everything look(void)
{
	struct everything e = {0};
	uint64_t after = 0;

	e.stats.size = sizeof(e.stats);
	CHECK(kvshim_stats_get(0, &e.stats) == 0);
	for (int i = 0; i < 2; i++) {
		e.regions[i].size = sizeof(e.regions[i]);
		CHECK(kvshim_region_stats_get(i ? two : region, &e.regions[i]) == 0);
	}
	e.pool.size = sizeof(e.pool);
	CHECK(kvshim_pool_stats_get(pool, &e.pool) == 0);
	e.model.size = sizeof(e.model);
	CHECK(kvshim_model_stats_get(model, &e.model) == 0);
	for (int i = 0; i < 5; i++) {
		e.rows[i].size = sizeof(e.rows[i]);
		if (kvshim_reservation_next(after, &e.rows[i]) < 0)
			break;
		after = e.rows[i].base;
	}
	return e;
}

/* By structure and offset. */
static const struct {
	const char *structure, *name;
	size_t offset;
} fields[] = {
#include "fields.inc"
};
#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

/* What the shim's own thread counts when it comes to it. */
static bool is_of_agent(const char *structure, const char *name)
{
	return !strcmp(structure, "kvshim_stats") &&
	       (!strcmp(name, "submitted") || !strcmp(name, "last_activity_ns"));
}

/* Two structures of this type; says what is different first. */
static bool is_same(const char *structure, const void *before, const void *after, size_t size)
{
	for (size_t i = 0; i < N_FIELDS; i++) {
		size_t at = fields[i].offset, end = size;
		unsigned long long a = 0, b = 0;

		if (strcmp(fields[i].structure, structure) != 0)
			continue;
		if (i + 1 < N_FIELDS && !strcmp(fields[i + 1].structure, structure))
			end = fields[i + 1].offset;
		if (is_of_agent(structure, fields[i].name) ||
			memcmp((const char *)before + at, (const char *)after + at, end - at) == 0)
			continue;
		memcpy(&a, (const char *)before + at, end - at < 8 ? end - at : 8);
		memcpy(&b, (const char *)after + at, end - at < 8 ? end - at : 8);
		printf("%s.%s: %llu, then %llu\n", structure, fields[i].name, a, b);
		return false;
	}
	return true;
}

static bool is_all_same(const struct everything *a, const struct everything *b)
{
#define SAME(type, member) is_same(#type, &a->member, &b->member, sizeof(struct type))
	bool same = SAME(kvshim_stats, stats) && SAME(kvshim_pool_stats, pool) &&
		    SAME(kvshim_model_stats, model);

	for (int i = 0; i < 2; i++)
		same = same && SAME(kvshim_region_stats, regions[i]);
	for (int i = 0; i < 5; i++)
		same = same && SAME(kvshim_reservation, rows[i]);
#undef SAME
	return same;
}

/* A comparison that finds nothing, whatever changes, would be no test. */
static void check_comparison(void)
{
	struct everything a = look(), b = a;

	CHECK(is_all_same(&a, &b));
	b.stats.state++;
	CHECK(!is_all_same(&a, &b));
	b = a;
	b.rows[2].backed++;
	CHECK(!is_all_same(&a, &b));
	b = a;
	b.stats.last_activity_ns++;
	CHECK(is_all_same(&a, &b));
}

/* What was released in set_up() goes when the shim's own thread comes to it. Waits until there is
 * nothing left of it: all device memory is that of live blocks. */
static void settle(void)
{
	struct everything e;
	bool reaped = false;

	for (int try = 0; try < 6000 && !reaped; try++) {
		e = look();
		reaped = true;
		for (int i = 0; i < 5; i++)
			reaped = reaped && e.rows[i].backed == e.rows[i].wanted;
		if (!reaped)
			usleep(10000);
	}
	CHECK(reaped);
	/* It closes the gate until it has counted everything; this waits for that. */
	CHECK(kvshim_touch(region, (int64_t[]){3}, 1) == 0);
}

static int n_rows;

static void check_row(int got, int wanted, const char *what, const char *call, long lines,
	const struct everything *before)
{
	struct everything after = look();

	n_rows++;
	if (!CHECK(got == wanted))
		printf("%s: %s: %d (%s), not %d\n", what, call, got, kvshim_strerror(got), wanted);
	if (!CHECK(lines == 1))
		printf("%s: %s: %ld lines\n", what, call, lines);
	if (!CHECK(is_all_same(before, &after)))
		printf("%s: %s: something has changed\n", what, call);
}

#define ROW(error, what, ...) \
	do { \
		struct everything before_ = look(); \
		long lines_ = log_lines(); \
		int got_ = (__VA_ARGS__); \
		lines_ = log_lines() - lines_; \
		check_row(got_, KVSHIM_ERR_##error, what, #__VA_ARGS__, lines_, &before_); \
	} while (0);

static void rows(void)
{
	struct kvshim_cache answer = {sizeof(answer), 1, 2, 3, 4, 5}, same = answer;
	struct kvshim_stats stats = {.size = sizeof(stats)}, empty = {0};
	uint64_t other = 77;

#include "misuse.inc"
	CHECK(other == 77 && memcmp(&answer, &same, sizeof(same)) == 0);
}

int main(void)
{
	CUcontext context;
	CUdevice device;

	close(2); /* lines of the shim go to a file from here on */
	if (mkstemp(log_path) != 2)
		return 1;
	OK(cuInit(0));
	OK(cuDeviceGet(&device, 0));
	OK(cuDevicePrimaryCtxRetain(&context, device));
	OK(cuCtxSetCurrent(context));
	set_up();
	settle();
	check_comparison();
	rows();
	take_down();
	OK(cuDevicePrimaryCtxRelease(device));
	unlink(log_path);
	printf("%d rows\n", n_rows);
	return failures ? 1 : 0;
}
