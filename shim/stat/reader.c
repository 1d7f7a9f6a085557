/* SPDX-License-Identifier: Apache-2.0 */
/* reader.c - reads every segment of a directory; see reader.h. */
#include "stat/reader.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

const char *kv_stat_reason(uint32_t reason)
{
	static const char *const words[] = {
		[KV_STATIC_NO] = NULL,
		[KV_STATIC_KERNEL] = "kernel",
		[KV_STATIC_UPLOAD] = "upload",
		[KV_STATIC_HOST_MEMORY] = "host-memory",
		[KV_STATIC_EXPORT] = "export",
		[KV_STATIC_GRAPH] = "graph",
		[KV_STATIC_OPTION] = "option",
		[KV_STATIC_ARRAY] = "array",
		[KV_STATIC_HINTS] = "hints",
	};

	return reason < sizeof(words) / sizeof(words[0]) ? words[reason] : "unknown";
}

const char *kv_stat_because(uint32_t reason)
{
	static const char *const words[] = {[KV_COORD_BECAUSE_SPARE] = "spare",
		[KV_COORD_BECAUSE_DEAD] = "dead",
		[KV_COORD_BECAUSE_IDLE] = "idle",
		[KV_COORD_BECAUSE_SHARE] = "share",
		[KV_COORD_BECAUSE_LIMIT] = "limit",
		[KV_COORD_BECAUSE_NOBODY] = "nobody"};

	return reason < sizeof(words) / sizeof(words[0]) ? words[reason] : "unknown";
}

const char *kv_stat_state_word(enum kv_stat_state state)
{
	static const char *const words[KV_STAT_STATES] = {[KV_STAT_ACTIVE] = "active",
		[KV_STAT_IDLE] = "idle",
		[KV_STAT_EVICTED] = "evicted",
		[KV_STAT_STATIC] = "static",
		[KV_STAT_INERT] = "inert",
		[KV_STAT_DEAD] = "dead"};

	return words[state];
}

/* Milliseconds since then; unknown if it never was, or lies in the future. */
static uint64_t age_ms(uint64_t then_ns, uint64_t now_ns)
{
	return then_ns == 0 || then_ns > now_ns ? KV_UNKNOWN : (now_ns - then_ns) / 1000000;
}

static void read_user(uint32_t uid, char *text, size_t size)
{
	char space[1024];
	struct passwd entry, *found = NULL;

	if (getpwuid_r(uid, &entry, space, sizeof(space), &found) == 0 && found)
		snprintf(text, size, "%s", found->pw_name);
	else
		snprintf(text, size, "%u", uid);
}

static int copy_rows(const struct kv_coord_slot *slot, struct kv_stat_process *process)
{
	for (uint32_t i = 0; i < KV_COORD_ROWS; i++)
		process->n_rows += slot->rows[i].base != 0;
	process->pages_known = process->n_rows == slot->process.n_reservations;
	if (!process->n_rows)
		return 0;
	process->rows = calloc(process->n_rows, sizeof(*process->rows));
	if (!process->rows)
		return -ENOMEM;
	process->n_rows = 0;
	for (uint32_t i = 0; i < KV_COORD_ROWS; i++) {
		if (!slot->rows[i].base)
			continue;
		process->rows[process->n_rows++] = slot->rows[i];
		for (int state = 0; state < 8; state++)
			process->pages[state] += slot->rows[i].pages[state];
	}
	return 0;
}

/* As kv_stats_quantile(); unknown if nothing was timed. */
static uint64_t quantile(const uint32_t buckets[KV_STATS_BUCKETS], uint64_t percent)
{
	uint64_t bound = kv_stats_quantile(buckets, percent);

	return bound ? bound : KV_UNKNOWN;
}

static void copy_values(const struct kv_coord_slot *slot, uint64_t now_ns, uint64_t *value)
{
	const struct kv_process_stats *stats = &slot->process;

	value[KV_PROCESS_RESERVED] = stats->reserved;
	value[KV_PROCESS_BACKED] = stats->backed;
	value[KV_PROCESS_BACKED_PEAK] = stats->backed_peak;
	value[KV_PROCESS_EVICTED] = stats->evicted;
	value[KV_PROCESS_SPILLED] = stats->spilled;
	value[KV_PROCESS_SPARE] = stats->spare;
	value[KV_PROCESS_NATIVE] = stats->native;
	value[KV_PROCESS_NATIVE_PEAK] = stats->native_peak;
	value[KV_PROCESS_HOST_BUDGET] = stats->host_budget;
	value[KV_PROCESS_RESERVATIONS] = stats->n_reservations;
	value[KV_PROCESS_STATIC] = stats->n_static;
	value[KV_PROCESS_UPDATED] = age_ms(slot->updated_ns, now_ns);
	value[KV_PROCESS_LAST] = age_ms(stats->last_submission_ns, now_ns);
	value[KV_PROCESS_PAGES_BACKED] = stats->pages_backed;
	value[KV_PROCESS_PAGES_RELEASED] = stats->pages_released;
	value[KV_PROCESS_PAGES_EVICTED] = stats->pages_evicted;
	value[KV_PROCESS_PAGES_NOT_COPIED] = stats->pages_not_copied;
	value[KV_PROCESS_PAGES_AHEAD] = stats->pages_ahead;
	value[KV_PROCESS_PAGES_AHEAD_USED] = stats->pages_ahead_used;
	value[KV_PROCESS_PAGES_RESTORED] = stats->pages_restored;
	value[KV_PROCESS_PAGES_SPILLED] = stats->pages_spilled;
	value[KV_PROCESS_DRIVER_CALLS] = stats->driver_calls;
	value[KV_PROCESS_SUBMISSIONS] = stats->submissions;
	value[KV_PROCESS_QUIESCES] = stats->quiesces;
	value[KV_PROCESS_QUIESCE_TIMEOUTS] = stats->quiesce_timeouts;
	value[KV_PROCESS_QUIESCE_MAX] = stats->quiesce_ns_max;
	value[KV_PROCESS_REFUSED] = stats->refused;
	value[KV_PROCESS_PASSED] = stats->passed;
	value[KV_PROCESS_DEAD] = stats->dead ? stats->dead : KV_UNKNOWN;
	value[KV_PROCESS_HOST_TAKEN] = stats->host_taken;
	value[KV_PROCESS_LAUNCH_P50] = quantile(stats->launch_ns, 50);
	value[KV_PROCESS_LAUNCH_P99] = quantile(stats->launch_ns, 99);
	value[KV_PROCESS_SUBMITTED] = stats->submitted;
	value[KV_PROCESS_LAUNCHES] = stats->launches;
	value[KV_PROCESS_WAITS] = stats->waits;
	value[KV_PROCESS_WAIT_TIMEOUTS] = stats->wait_timeouts;
	value[KV_PROCESS_WAIT] = stats->wait_ns;
	value[KV_PROCESS_WAIT_MAX] = stats->wait_ns_max;
	value[KV_PROCESS_PROMOTED] = stats->pages_promoted;
	value[KV_PROCESS_EVICTIONS] = stats->evictions;
	value[KV_PROCESS_MOVED_OUT] = stats->evicted_bytes;
	value[KV_PROCESS_EVICT_TIME] = stats->evict_ns;
	value[KV_PROCESS_RESTORES] = stats->restores;
	value[KV_PROCESS_MOVED_IN] = stats->restored_bytes;
	value[KV_PROCESS_RESTORE_TIME] = stats->restore_ns;
	value[KV_PROCESS_RECLAIMS] = stats->reclaims;
	value[KV_PROCESS_GIVEN] = stats->reclaimed_bytes;
	value[KV_PROCESS_DENIED] = stats->denied;
}

/* What stands beside the slot: limits that others may have written, and the account. */
static void copy_control(const struct kv_coord_slot *slot, const struct kv_coord_account *account,
	uint64_t now_ns, uint64_t *value)
{
	const struct kv_coord_limits *limits = &slot->control.limits;
	uint64_t last_ns = slot->process.last_activity_ns;

	/* three places, each as fresh as who writes it */
	last_ns = account->activity_ns > last_ns ? account->activity_ns : last_ns;
	if (slot->process.last_submission_ns > last_ns)
		last_ns = slot->process.last_submission_ns;
	value[KV_PROCESS_LIMIT_MIN] = limits->min;
	value[KV_PROCESS_LIMIT_MAX] = limits->max;
	value[KV_PROCESS_WEIGHT] = limits->weight;
	value[KV_PROCESS_IDLE_AFTER] = limits->idle_ms;
	value[KV_PROCESS_CHARGED] = account->charged;
	value[KV_PROCESS_ASKED] = account->asked;
	value[KV_PROCESS_OVERCOMMIT] = account->overcommit;
	value[KV_PROCESS_ACTIVITY] = age_ms(last_ns, now_ns);
	value[KV_PROCESS_AGENT] = age_ms(account->alive_ns, now_ns);
}

/* activity_ms: time since any work was submitted, or KV_UNKNOWN. */
static enum kv_stat_state state_of(const struct kv_coord_slot *slot,
	const struct kv_coord_account *account, enum kv_coord_life life, uint64_t activity_ms)
{
	if (life == KV_COORD_DEAD)
		return KV_STAT_DEAD;
	if (slot->state == KV_COORD_INERT)
		return KV_STAT_INERT;
	if (account->activity == KV_COORD_EVICTED)
		return KV_STAT_EVICTED;
	if (account->activity == KV_COORD_IDLE)
		return KV_STAT_IDLE;
	if (slot->process.n_reservations && slot->process.n_static >= slot->process.n_reservations)
		return KV_STAT_STATIC;
	/* who does not look after that itself is idle to others all the same */
	if (!slot->control.limits.idle_ms && activity_ms != KV_UNKNOWN &&
		activity_ms >= KV_COORD_IDLE_NS / 1000000)
		return KV_STAT_IDLE;
	return KV_STAT_ACTIVE;
}

/* scratch: room for a copy of the slot. before: the one read before it, or NULL. */
static int read_process(const struct kv_coord_segment *mapped, uint32_t index, uint64_t now_ns,
	struct kv_coord_slot *scratch, const struct kv_stat_process *before,
	struct kv_stat_process *process, bool *ret_used)
{
	struct kv_coord_account account;
	int error;

	memset(process, 0, sizeof(*process));
	memset(process->value, 0xff, sizeof(process->value));
	for (int i = 0; i < KV_PROCESS_METRICS; i++)
		process->rate[i] = -1;
	error = kv_coord_read_slot(&mapped->slots[index], scratch);
	kv_coord_read_account(mapped, index, &account);
	*ret_used = error != -ENOENT;
	if (error == -ENOENT)
		return 0;
	process->slot_index = index;
	process->generation = scratch->generation;
	process->pid = scratch->owner_pid;
	process->life = kv_coord_owner_life(scratch);
	process->state = state_of(scratch, &account, process->life, KV_UNKNOWN);
	if (error == -EAGAIN)
		snprintf(process->problem, sizeof(process->problem),
			"it was being written at every try");
	else
		error = kv_coord_check_slot(scratch, process->problem, sizeof(process->problem));
	if (error)
		return 0;
	process->uid = scratch->owner_uid;
	/* looking a user up reads a file; most processes here are of one user */
	if (before && before->user[0] && before->uid == process->uid)
		memcpy(process->user, before->user, sizeof(process->user));
	else
		read_user(process->uid, process->user, sizeof(process->user));
	memcpy(process->name, scratch->name, sizeof(process->name));
	memcpy(process->note, scratch->note, sizeof(process->note));
	copy_values(scratch, now_ns, process->value);
	copy_control(scratch, &account, now_ns, process->value);
	process->state =
		state_of(scratch, &account, process->life, process->value[KV_PROCESS_ACTIVITY]);
	return copy_rows(scratch, process);
}

static int read_slots(
	const struct kv_coord_segment *mapped, uint64_t now_ns, struct kv_stat_segment *segment)
{
	struct kv_coord_slot *scratch = malloc(sizeof(*scratch));
	struct kv_stat_process *grown;
	int error = scratch ? 0 : -ENOMEM;
	bool used;

	for (uint32_t i = 0; !error && i < KV_COORD_SLOTS; i++) {
		if (__atomic_load_n(&mapped->slots[i].state, __ATOMIC_ACQUIRE) == KV_COORD_FREE)
			continue;
		grown = realloc(segment->processes, (segment->n_processes + 1) * sizeof(*grown));
		if (!grown) {
			error = -ENOMEM;
			break;
		}
		segment->processes = grown;
		error = read_process(mapped, i, now_ns, scratch,
			segment->n_processes ? &grown[segment->n_processes - 1] : NULL,
			&grown[segment->n_processes], &used);
		segment->n_processes += used;
	}
	free(scratch);
	return error;
}

static void add_known(uint64_t *sum, uint64_t value)
{
	if (value != KV_UNKNOWN)
		*sum = *sum == KV_UNKNOWN || *sum > INT64_MAX || value > INT64_MAX ? KV_UNKNOWN
										   : *sum + value;
}

/* What the segment says of its GPU, and the sums of what its living processes say. */
static void sum_gpu(struct kv_stat_segment *segment)
{
	static const struct {
		enum kv_gpu_metric to;
		enum kv_process_metric from;
	} sums[] = {{KV_GPU_NATIVE, KV_PROCESS_NATIVE}, {KV_GPU_BACKED, KV_PROCESS_BACKED},
		{KV_GPU_SPARE, KV_PROCESS_SPARE}, {KV_GPU_SPILLED, KV_PROCESS_SPILLED},
		{KV_GPU_EVICTED, KV_PROCESS_EVICTED}, {KV_GPU_RESERVED, KV_PROCESS_RESERVED}};

	segment->value[KV_GPU_PROCESSES] = segment->n_processes;
	for (size_t i = 0; i < sizeof(sums) / sizeof(sums[0]); i++) {
		uint64_t *sum = &segment->value[sums[i].to];

		*sum = 0;
		for (uint32_t j = 0; j < segment->n_processes; j++)
			if (segment->processes[j].state != KV_STAT_DEAD)
				add_known(sum, segment->processes[j].value[sums[i].from]);
	}
}

static uint64_t load(const uint64_t *shared)
{
	return __atomic_load_n(shared, __ATOMIC_RELAXED);
}

static void read_header(
	const struct kv_coord_segment *mapped, uint64_t now_ns, struct kv_stat_segment *segment)
{
	char *at = segment->uuid;

	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*at++ = '-';
		at += snprintf(at, 3, "%02x", mapped->gpu_uuid[i]);
	}
	memcpy(segment->gpu_name, mapped->gpu_name, sizeof(segment->gpu_name));
	segment->gpu_name[sizeof(segment->gpu_name) - 1] = '\0';
	segment->value[KV_GPU_TOTAL] = mapped->gpu_total;
	segment->value[KV_GPU_CHARGED] = load(&mapped->charged_total);
	segment->value[KV_GPU_PROMISED] = load(&mapped->promised_total);
	segment->value[KV_GPU_OUTSIDE] = load(&mapped->outside);
	segment->value[KV_GPU_HOST_BUDGET] = load(&mapped->host_budget_total);
	segment->value[KV_GPU_DECISIONS] = load(&mapped->n_decisions);
	segment->value[KV_GPU_REPAIRS] = load(&mapped->n_repairs);
	segment->value[KV_GPU_WAITING] = __atomic_load_n(&mapped->n_waiting, __ATOMIC_RELAXED);
	segment->value[KV_GPU_FREE_AGE] = age_ms(load(&mapped->free_seen_ns), now_ns);
	if (segment->value[KV_GPU_FREE_AGE] != KV_UNKNOWN)
		segment->value[KV_GPU_FREE] = load(&mapped->free_seen);
}

static int read_decisions(const struct kv_coord_segment *mapped, struct kv_stat_segment *segment)
{
	struct kv_coord_decision *copies = calloc(KV_COORD_DECISIONS, sizeof(*copies));

	if (!copies)
		return -ENOMEM;
	segment->decisions = copies;
	segment->n_decisions = kv_coord_read_decisions(mapped, copies, KV_COORD_DECISIONS);
	return 0;
}

/* The size is looked at before the mapping is touched: a short file would be a SIGBUS. */
static int check_size(int fd, struct kv_stat_segment *segment)
{
	union {
		uint8_t bytes[64];
		uint64_t aligned;
	} head = {{0}};
	struct stat info;

	if (fstat(fd, &info) != 0 || pread(fd, head.bytes, sizeof(head.bytes), 0) < 0)
		return snprintf(segment->problem, sizeof(segment->problem), "%s", strerror(errno));
	if (!S_ISREG(info.st_mode))
		return snprintf(segment->problem, sizeof(segment->problem), "not a regular file");
	if ((uint64_t)info.st_size == sizeof(struct kv_coord_segment))
		return 0;
	return kv_coord_check_header(
		head.bytes, (uint64_t)info.st_size, segment->problem, sizeof(segment->problem));
}

static int read_segment(struct kv_stat_segment *segment, uint64_t now_ns)
{
	const struct kv_coord_segment *mapped;
	int error = 0;
	int fd = open(segment->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0) {
		snprintf(segment->problem, sizeof(segment->problem), "%s", strerror(errno));
		return 0;
	}
	if (check_size(fd, segment) != 0)
		goto close_fd;
	mapped = mmap(NULL, sizeof(*mapped), PROT_READ, MAP_SHARED, fd, 0);
	if (mapped == MAP_FAILED) {
		snprintf(segment->problem, sizeof(segment->problem), "%s", strerror(errno));
		goto close_fd;
	}
	if (kv_coord_check_header(
		    mapped, sizeof(*mapped), segment->problem, sizeof(segment->problem)) == 0) {
		read_header(mapped, now_ns, segment);
		error = read_slots(mapped, now_ns, segment);
		if (!error)
			error = read_decisions(mapped, segment);
		sum_gpu(segment);
	}
	munmap((void *)mapped, sizeof(*mapped));
close_fd:
	close(fd);
	return error;
}

/* "kvshim-<uid>-<32 hex digits>", or with g<gid> instead of <uid> */
static int is_segment(const struct dirent *entry)
{
	const char *at = entry->d_name;
	size_t digits;

	if (strncmp(at, "kvshim-", 7) != 0)
		return 0;
	at += at[7] == 'g' ? 8 : 7;
	digits = strspn(at, "0123456789");
	if (!digits || at[digits] != '-')
		return 0;
	at += digits + 1;
	return strlen(at) == 32 && strspn(at, "0123456789abcdef") == 32;
}

static uint64_t read_clock(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

struct kv_stat_clock kv_stat_clock_now(void)
{
	struct kv_stat_clock clock = {
		.now_ns = read_clock(CLOCK_MONOTONIC), .wall_ns = read_clock(CLOCK_REALTIME)};

	return clock;
}

int kv_stat_read(const char *directory, const struct kv_stat_clock *clock, struct kv_stat *ret_stat)
{
	struct dirent **names = NULL;
	int n, error = 0;

	memset(ret_stat, 0, sizeof(*ret_stat));
	snprintf(ret_stat->directory, sizeof(ret_stat->directory), "%s", directory);
	ret_stat->clock = *clock;
	n = scandir(directory, &names, is_segment, alphasort);
	if (n < 0) {
		snprintf(ret_stat->problem, sizeof(ret_stat->problem), "%s", strerror(errno));
		return 0;
	}
	if (n > 0)
		ret_stat->segments = calloc((size_t)n, sizeof(*ret_stat->segments));
	if (n > 0 && !ret_stat->segments)
		error = -ENOMEM;
	for (int i = 0; i < n; i++) {
		if (!error) {
			struct kv_stat_segment *segment =
				&ret_stat->segments[ret_stat->n_segments++];

			snprintf(segment->path, sizeof(segment->path), "%s/%s", directory,
				names[i]->d_name);
			memset(segment->value, 0xff, sizeof(segment->value));
			error = read_segment(segment, clock->now_ns);
		}
		free(names[i]);
	}
	free(names);
	if (error)
		kv_stat_free(ret_stat);
	return error;
}

void kv_stat_free(struct kv_stat *stat)
{
	for (uint32_t i = 0; i < stat->n_segments; i++) {
		for (uint32_t j = 0; j < stat->segments[i].n_processes; j++)
			free(stat->segments[i].processes[j].rows);
		free(stat->segments[i].processes);
		free(stat->segments[i].decisions);
	}
	free(stat->segments);
	stat->segments = NULL;
	stat->n_segments = 0;
}
