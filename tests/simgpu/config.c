/* SPDX-License-Identifier: Apache-2.0 */
/* config.c - the SIMGPU_ environment. Read once, by the first call that needs it; immutable after
 * that. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

struct sim_config sim_config;

/* Bytes with an optional suffix K, M, G or T (powers of 1024). */
static uint64_t parse_size(const char *name, uint64_t fallback)
{
	const char *text = getenv(name);
	if (!text || !*text)
		return fallback;
	char *end;
	double value = strtod(text, &end);
	switch (*end) {
	case 'T':
		value *= 1024; /* fall through */
	case 'G':
		value *= 1024; /* fall through */
	case 'M':
		value *= 1024; /* fall through */
	case 'K':
		value *= 1024;
	}
	return value > 0 ? (uint64_t)value : 0;
}

static bool parse_flag(const char *name)
{
	const char *text = getenv(name);
	return text && *text && strcmp(text, "0") != 0;
}

static void load(void)
{
	struct sim_config *c = &sim_config;

	c->n_devices = (int)parse_size("SIMGPU_DEVICES", 1);
	if (c->n_devices > SIM_MAX_DEVICES)
		c->n_devices = SIM_MAX_DEVICES;
	c->memory = parse_size("SIMGPU_MEMORY", 80ull << 30) & ~(SIM_GRANULARITY - 1);
	const char *cc = getenv("SIMGPU_CC");
	c->cc = 90;
	if (cc && *cc) {
		/* "9.0" or "90" */
		const char *dot = strchr(cc, '.');
		c->cc = dot ? atoi(cc) * 10 + atoi(dot + 1) : atoi(cc);
	}
	c->bandwidth = parse_size("SIMGPU_BANDWIDTH", 0);
	c->latency_ns = parse_size("SIMGPU_LATENCY_NS", 0);
	c->kernel_ns = parse_size("SIMGPU_KERNEL_NS", 0);
	c->call_ns = getenv("SIMGPU_CALL_NS");
	c->driver_version = (int)parse_size("SIMGPU_DRIVER_VERSION", 13000);
	c->async = parse_flag("SIMGPU_ASYNC");
	c->no_vmm = parse_flag("SIMGPU_NO_VMM");
	c->low_addresses = parse_flag("SIMGPU_LOW_ADDRESSES");
	c->strict_exit = parse_flag("SIMGPU_STRICT_EXIT");
	c->mirror = parse_flag("SIMGPU_MIRROR");
	c->dead_strict = parse_flag("SIMGPU_DEAD_STRICT");
	c->unsafe_vmm = parse_flag("SIMGPU_UNSAFE_VMM");
	c->no_param_info = parse_flag("SIMGPU_NO_PARAM_INFO") || c->driver_version < 12040;
	c->no_leaks = parse_flag("SIMGPU_NO_LEAKS");
	c->report = getenv("SIMGPU_REPORT");
	c->shared = getenv("SIMGPU_SHARED");
	c->fail = getenv("SIMGPU_FAIL");
	const char *drop = getenv("SIMGPU_DROP");
	c->drop_copies = drop && !strcmp(drop, "copies");
	c->drop_sets = drop && !strcmp(drop, "sets");
}

void sim_config_load(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, load);
}
