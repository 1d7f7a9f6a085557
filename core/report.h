/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.h - how much memory a process is told that it could get.
 */
#ifndef KV_CORE_REPORT_H
#define KV_CORE_REPORT_H

#include <stdbool.h>
#include <stdint.h>

struct kv_space;

/* What the process was told last. Guarded by the lock of the space. */
struct kv_report {
	bool asked;
	uint64_t asked_ns;
	uint64_t bytes;
	uint64_t own; /* bytes that it had reserved and allocated then */
};

/*
 * driver_free, driver_total: what the driver says. Returns what this process could get: that, what
 * it keeps for reuse and what others would give, within its maximum, less what its reservations
 * were promised and have not got yet. Within a minute of the last question the answer rises only by
 * what the process itself has given back since: engines measure their own use by asking twice.
 * Takes the lock of the space and asks the ledger.
 */
uint64_t kv_space_report(struct kv_space *space, uint64_t driver_free, uint64_t driver_total);

#endif
