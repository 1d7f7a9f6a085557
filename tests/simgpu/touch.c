/* SPDX-License-Identifier: Apache-2.0 */
/* touch.c - what queued and running work may still touch. With sim_lock. */
#include <string.h>

#include "memory.h"

static bool overlaps(uint64_t a, uint64_t size, uint64_t addr, uint64_t end)
{
	return a < end && a + size > addr;
}

/* The bytes from the first to the last that a rectangle spans. */
static uint64_t span(
	uint64_t width, uint64_t height, uint64_t depth, uint64_t pitch, uint64_t slice)
{
	return width && height && depth ? (depth - 1) * slice + (height - 1) * pitch + width : 0;
}

static bool kernel_points(const struct sim_launch *l, uint64_t range, uint64_t end)
{
	for (uint32_t i = 0; i < l->kernel->n_params; i++) {
		const struct sim_param *p = &l->kernel->params[i];
		for (uint32_t at = 0; p->size % 8 == 0 && at < p->size; at += 8) {
			uint64_t word;
			memcpy(&word, l->params + p->offset + at, 8);
			if (word >= range && word < end)
				return true;
		}
	}
	return false;
}

bool sim_work_touches(const struct sim_work *work, uint64_t addr, uint64_t end, uint64_t range,
	uint64_t range_end)
{
	switch (work->type) {
	case SIM_WORK_KERNEL:
		return kernel_points(&work->launch, range, range_end);
	case SIM_WORK_COPY: {
		const struct sim_copy *c = &work->copy;
		return overlaps(c->dst,
			       span(c->width, c->height, c->depth, c->dst_pitch, c->dst_slice),
			       addr, end) ||
		       overlaps(c->src,
			       span(c->width, c->height, c->depth, c->src_pitch, c->src_slice),
			       addr, end);
	}
	case SIM_WORK_SET: {
		const struct sim_set *s = &work->set;
		return overlaps(
			s->dst, span(s->width * s->element, s->height, 1, s->pitch, 0), addr, end);
	}
	case SIM_WORK_MEMOP:
		return overlaps(work->memop.addr, work->memop.wide ? 8 : 4, addr, end);
	case SIM_WORK_BATCH:
		for (uint32_t i = 0; i < work->batch.n; i++)
			if (overlaps(work->batch.ops[i].addr, work->batch.ops[i].wide ? 8 : 4, addr,
				    end))
				return true;
		return false;
	case SIM_WORK_GRAPH:
		return sim_exec_nodes_touch(work->nodes, addr, end, range, range_end);
	default:
		return false;
	}
}

const char *sim_work_in_flight(uint64_t addr, uint64_t size, uint64_t range, uint64_t range_end)
{
	for (struct sim_context *c = sim_contexts; c; c = c->next) {
		for (struct sim_stream *s = c->streams; s; s = s->next) {
			if (s->inlined &&
				sim_work_touches(s->inlined, addr, addr + size, range, range_end))
				return sim_work_name(s->inlined);
			for (struct sim_task *t = s->head; t; t = t->next)
				if (sim_work_touches(&t->work, addr, addr + size, range, range_end))
					return sim_work_name(&t->work);
		}
	}
	return NULL;
}
