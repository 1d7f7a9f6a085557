/* SPDX-License-Identifier: Apache-2.0 */
/* ledger_member.h - members of one segment with a ledger each, and their agents, for tests. */
#ifndef KV_TESTS_LEDGER_MEMBER_H
#define KV_TESTS_LEDGER_MEMBER_H

#include <pthread.h>

#include "core/coord_ledger.h"

#define M (1024ull * 1024)
#define PAGE (2 * M)
#define DEVICE (1024 * M) /* see segment_place.c */
#define LONG_NS 60000000000ull

struct member {
	struct kv_coord *coord;
	struct kv_ledger ledger;
};

/* Joins, or fails the test. At work for as long as the test takes, unless it says otherwise. */
struct member member_with(struct kv_coord_ledger_config config);
struct member member(uint64_t lease, uint64_t wait_ns);
int charge(struct member *m, uint64_t bytes);
void uncharge(struct member *m, uint64_t bytes);
int promise(struct member *m, uint64_t bytes);
int wait_for(struct member *m, uint64_t bytes);
struct kv_coord_account *account(struct member *m);
struct kv_coord_command *reclaim_of(struct member *m);
/* The segment is sound, or the test fails. */
void check(struct member *m);
/* Until that is true, or the test fails after a minute. */
void polled(bool (*reached)(struct member *m), struct member *m);
uint64_t now_ns(void);

/* An agent: answers reclaims with what it is charged with, until it is stopped. */
struct agent {
	struct member *m;
	uint64_t floor; /* it keeps so much */
	uint64_t gave;
	uint32_t n_answers;
	bool stop;
	pthread_t thread;
};

void agent_start(struct agent *agent, struct member *m, uint64_t floor);
void agent_stop(struct agent *agent);

#endif
