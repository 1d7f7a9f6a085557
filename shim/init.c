/* SPDX-License-Identifier: Apache-2.0 */
/*
 * init.c - from the environment to what hooks need.
 *
 * Nothing here runs before the program's first driver call that matters: no constructor. At exit
 * the slots in the shared segments are freed by a destructor that calls neither the driver nor
 * core.
 */
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "core/tag_rules.h"
#include "hooks/hooks.h"
#include "shim/api.h"
#include "shim/config.h"
#include "shim/rules.h"
#include "shim/log.h"
#include "shim/segment.h"

/* Two busy processes that take pages from each other do so at most this often. */
#define RESIDENCY_NS 1000000000ull
/* Charged ahead: one taking of the segment's mutex for 32 pages. */
#define LEASE_BYTES (64ull << 20)
/* With KVSHIM_SCOPE=all: smaller allocations would waste most of a page. */
#define SCOPE_ALL_FROM (2ull << 20)

static struct kv_config config; /* immutable after set-up */

static void complain(void *ctx, const char *line)
{
	kv_log(KV_LOG_WARN, "config", "%s", line);
}

static void fill_core(struct kv_core_config *core)
{
	core->page_size = (uint64_t)kv_config_number(&config, KV_OPT_PAGE_SIZE);
	core->spare_bytes = (uint64_t)kv_config_number(&config, KV_OPT_SPARE);
	core->host_budget = (uint64_t)kv_config_number(&config, KV_OPT_HOST_BUDGET);
	core->overcommit_bytes = (uint64_t)kv_config_number(&config, KV_OPT_OVERCOMMIT);
	core->drain_timeout_ns = (uint64_t)kv_config_number(&config, KV_OPT_DRAIN_MS) * 1000000ull;
	core->linger_ns = (uint64_t)kv_config_number(&config, KV_OPT_LINGER_MS) * 1000000ull;
	core->idle_ns = (uint64_t)kv_config_number(&config, KV_OPT_IDLE_MS) * 1000000ull;
	core->keep_copies = kv_config_number(&config, KV_OPT_SCOPE) != 0 &&
			    kv_config_number(&config, KV_OPT_KEEP_COPIES) != 0;
	core->log = kv_log_sink;
	core->log_ctx = NULL;
}

static void fill_select(struct kv_select_rules *rules)
{
	rules->min_size = (uint64_t)kv_config_number(&config, KV_OPT_MIN_SIZE);
	rules->max_size = (uint64_t)kv_config_number(&config, KV_OPT_MAX_SIZE);
	rules->whole_from = kv_config_number(&config, KV_OPT_SCOPE) ? SCOPE_ALL_FROM : 0;
	rules->include_sizes = kv_config_text(&config, KV_OPT_INCLUDE_SIZES);
	rules->exclude_sizes = kv_config_text(&config, KV_OPT_EXCLUDE_SIZES);
	rules->include_callers = kv_config_text(&config, KV_OPT_INCLUDE_CALLERS);
	rules->exclude_callers = kv_config_text(&config, KV_OPT_EXCLUDE_CALLERS);
	rules->include_symbols = kv_config_text(&config, KV_OPT_INCLUDE_SYMBOLS);
	rules->exclude_symbols = kv_config_text(&config, KV_OPT_EXCLUDE_SYMBOLS);
	rules->min_score = (int)kv_config_number(&config, KV_OPT_MIN_SCORE);
}

static void log_decision(void *ctx, const char *text)
{
	(void)ctx;
	kv_log(KV_LOG_DEBUG, "policy", "%s", text);
}

static void set_segment(void)
{
	int64_t group = kv_config_number(&config, KV_OPT_GROUP);
	uint64_t max = (uint64_t)kv_config_number(&config, KV_OPT_MAX);
	uint64_t host_budget = (uint64_t)kv_config_number(&config, KV_OPT_HOST_BUDGET);
	const struct kv_segment_config segment = {
		.directory = kv_config_text(&config, KV_OPT_DIR),
		.has_group = group >= 0,
		.gid = group >= 0 ? (uint32_t)group : 0,
		.limits =
			{
				.min = (uint64_t)kv_config_number(&config, KV_OPT_MIN),
				.max = max >= INT64_MAX ? KV_COORD_NO_LIMIT : max,
				.host_budget = host_budget,
				.weight = (uint32_t)kv_config_number(&config, KV_OPT_WEIGHT),
				.idle_ms = (uint32_t)kv_config_number(&config, KV_OPT_IDLE_MS),
			},
		.ledger =
			{
				.wait_ns = (uint64_t)kv_config_number(&config, KV_OPT_WAIT_MS) *
					   1000000ull,
				.residency_ns = RESIDENCY_NS,
				.lease_bytes = LEASE_BYTES,
				.host_budget = host_budget,
				.overcommit =
					(uint64_t)kv_config_number(&config, KV_OPT_OVERCOMMIT),
				.log = log_decision,
			},
	};

	kv_segment_setup(&segment);
}

/* The levels are needed before the first complaint, which reading the options may bring. */
static int read_options(void)
{
	struct kv_config quiet;

	if (kv_config_read(&quiet, environ, NULL, NULL) != 0)
		return -ENOMEM;
	kv_log_set_levels(kv_config_text(&quiet, KV_OPT_LOG));
	kv_log_set_lines((uint64_t)kv_config_number(&quiet, KV_OPT_LOG_LINES));
	kv_config_free(&quiet);
	return kv_config_read(&config, environ, complain, NULL);
}

int kv_embed_setup(struct kv_hooks_config *ret_config)
{
	int error = read_options();

	if (error) {
		kv_log(KV_LOG_ERROR, "config", "inert: no memory for the options");
		return error;
	}
	if (!kv_config_number(&config, KV_OPT_ENABLE)) {
		kv_log(KV_LOG_DEBUG, "config", "inert: KVSHIM=%s",
			kv_config_text(&config, KV_OPT_ENABLE));
		return -ECANCELED;
	}
	error = pthread_atfork(NULL, NULL, kv_segment_forget_all);
	if (error) {
		kv_log(KV_LOG_ERROR, "config", "inert: no memory for a fork handler");
		return -error;
	}
	set_segment();
	fill_core(&ret_config->core);
	fill_select(&ret_config->select);
	kv_api_may_predict = kv_config_number(&config, KV_OPT_PREDICT) != 0;
	ret_config->tag_rules = kv_config_text(&config, KV_OPT_TAGS);
	if (kv_tag_rules_check(ret_config->tag_rules) < 0)
		complain(NULL, "KVSHIM_TAGS has a rule that is not understood and does not count: "
			       "give NAME/MODE[/PRIORITY] [caller=] [symbol=] [size=] [order=], "
			       "comma-separated");
	ret_config->scan_bytes = (uint64_t)kv_config_number(&config, KV_OPT_SCAN_BYTES);
	ret_config->transient_kernels = kv_config_text(&config, KV_OPT_TRANSIENT_KERNELS);
	ret_config->rules = kv_rules_load(kv_config_text(&config, KV_OPT_RULES));
	ret_config->report_budget = (uint64_t)kv_config_number(&config, KV_OPT_REPORT_BUDGET);
	ret_config->ahead = kv_config_number(&config, KV_OPT_AHEAD) != 0;
	ret_config->report_raw_memory = kv_config_number(&config, KV_OPT_RAW_MEMINFO) != 0;
	ret_config->evict_every = (uint32_t)kv_config_number(&config, KV_OPT_TEST_EVICT_EVERY);
	ret_config->evict_interval_ms =
		(uint32_t)kv_config_number(&config, KV_OPT_TEST_EVICT_INTERVAL_MS);
	ret_config->force_cubin_layouts = kv_config_number(&config, KV_OPT_TEST_CUBIN_LAYOUTS) != 0;
	ret_config->device_found = kv_segment_join;
	ret_config->device_inert = kv_segment_inert;
	ret_config->ctx = NULL;
	return 0;
}

__attribute__((destructor)) static void leave(void)
{
	kv_segment_leave_all();
}
