/* SPDX-License-Identifier: Apache-2.0 */
/* listen.h - the exposition over HTTP: `kvshim-stat --listen`. */
#ifndef KV_SHIM_STAT_LISTEN_H
#define KV_SHIM_STAT_LISTEN_H

#include <stdbool.h>

/*
 * Serves /metrics on "ADDRESS:PORT" ("127.0.0.1:9400", "[::1]:9400"; port 0: any) until SIGINT or
 * SIGTERM; says where on stdout. Each request reads the segments anew. No access control, so an
 * address that is not of this machine only is refused unless anywhere. Returns an exit status: 0,
 * 1, or 2 for an address that is none or is refused; one line on stderr says why.
 */
int kv_listen_run(const char *address, bool anywhere, const char *directory);

#endif
