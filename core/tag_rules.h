/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tag_rules.h - tags by rules: which allocation gets which tag without the program's help. Pure.
 *
 * A list of rules, comma-separated; the first that matches counts:
 *
 *   NAME/MODE[/PRIORITY] [caller=GLOB] [symbol=GLOB] [size=SIZE|LOW-HIGH] [order=N]
 *
 * MODE is keep, lazy, eager or native; all conditions must hold. order counts the process's
 * allocations of at least the size floor, from 1.
 */
#ifndef KV_CORE_TAG_RULES_H
#define KV_CORE_TAG_RULES_H

#include "core/select.h"

struct kv_tag_rule {
	char name[32];
	enum kv_tag tag;
	uint8_t priority;
};

/* True: *ret_rule is the first rule that matches. Malformed rules are passed over. order: 0: it has
 * none. Looks at size, libraries and symbols of the request. */
bool kv_tag_rules_match(const char *rules, const struct kv_select_request *request, uint64_t order,
	struct kv_tag_rule *ret_rule);
/* 0, or -EINVAL: some rule is malformed. */
int kv_tag_rules_check(const char *rules);
/* True if some rule asks for callers or symbols: the hook has to unwind the stack. */
bool kv_tag_rules_need_frames(const char *rules);

#endif
