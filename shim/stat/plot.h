/* SPDX-License-Identifier: Apache-2.0 */
/* plot.h - a recording as a picture: `kvshim-stat --plot`. */
#ifndef KV_SHIM_STAT_PLOT_H
#define KV_SHIM_STAT_PLOT_H

#include <stdio.h>

#include "stat/recording.h"

/* Per GPU what its memory held over time, and below it what was behind each process. */
void kv_plot_svg(const struct kv_recording *recording, FILE *out);
/* Reads the recording `from` and writes the picture `file`. Returns an exit status. */
int kv_plot_run(const char *from, const char *file, const char *who);

#endif
