/* SPDX-License-Identifier: Apache-2.0 */
/* live_run.h - the live view in a terminal. */
#ifndef KV_SHIM_STAT_LIVE_RUN_H
#define KV_SHIM_STAT_LIVE_RUN_H

#include "stat/options.h"

/* Until the user quits. Returns the exit status; why not goes to stderr. */
int kv_live_run(const struct kv_stat_options *options, const char *directory);

#endif
