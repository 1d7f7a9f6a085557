/* SPDX-License-Identifier: Apache-2.0 */
/* json.h - pieces of JSON for what the commands print. No state, no lock. */
#ifndef KV_SHIM_JSON_H
#define KV_SHIM_JSON_H

#include <stdio.h>

/* A string with its quotes; NULL is null. Bytes that are no UTF-8 become U+FFFD. */
void kv_json_string(FILE *out, const char *text);
/* "key":"text" */
void kv_json_member(FILE *out, const char *key, const char *text);

#endif
