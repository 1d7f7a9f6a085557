/* SPDX-License-Identifier: Apache-2.0 */
/* rules.h - KVSHIM_RULES: which kernel rules the process uses. */
#ifndef KV_SHIM_RULES_H
#define KV_SHIM_RULES_H

struct kv_ruleset;

/*
 * choice: "off", "builtin", or the path of a rule file. A file that cannot be read or has an error
 * is refused whole, with one line that says where and why, and the compiled-in rules are used.
 * Returns NULL for "off" (and without memory, which is said too); else a set that lives as long as
 * the process.
 */
const struct kv_ruleset *kv_rules_load(const char *choice);

#endif
