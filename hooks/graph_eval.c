/* SPDX-License-Identifier: Apache-2.0 */
/*
 * graph_eval.c - what a launch of an executable graph touches: its nodes one after the other, in an
 * order in which they may run, on the index shadows as they are when it is launched.
 *
 * First all nodes are looked at, with the mutex of the shadows held; what is to be done about them
 * is noted, and done afterwards (graph_todo.c).
 */
#include <errno.h>
#include <string.h>

#include "hooks/call.h"
#include "hooks/graph_exec.h"
#include "hooks/graph_todo.h"
#include "hooks/launch.h"
#include "hooks/planes.h"
#include "hooks/recognise.h"
#include "hooks/rules/shadow.h"
#include "hooks/track.h"

#define PAGE_GRAIN (2u << 20)

struct evaluation {
	struct kv_exec *exec;
	struct kv_shadows *shadows;
	uint32_t position; /* of the node */
	bool steady;       /* so far, the next launch may be like this one */
	bool named;        /* nothing is known but what nodes name, see struct kv_record */
	bool no_memory;
};

/* ---- notes ---- */

static void note(struct evaluation *e, struct kv_todo todo)
{
	if (!kv_todo_add(e->exec, todo))
		e->no_memory = true;
	/* As long as the rows have memory and the graph is the same, so are its planes. */
	if (todo.kind != KV_TODO_TOUCH && todo.kind != KV_TODO_ROWS && todo.kind != KV_TODO_EXTENT)
		e->steady = false;
}

/* [addr, addr + length) as far as it lies in the reservation where it begins. */
static void note_range(struct evaluation *e, enum kv_todo_kind kind, uint64_t addr, uint64_t length,
	const char *by)
{
	struct kv_reservation *r = kv_core_find(kv_hooks.core, addr);

	if (r && length)
		note(e, (struct kv_todo){r, addr - kv_reservation_base(r), length, by, kind});
}

/* ---- what may be written is no shadow any more ---- */

static void kill_range(struct evaluation *e, uint64_t addr, uint64_t length)
{
	if (!length)
		return;
	kv_steady_kill(&e->exec->steady, addr, length, e->position);
	if (e->shadows)
		kv_shadows_kill(e->shadows, addr, length);
}

static void kill_at(struct evaluation *e, uint64_t addr)
{
	kv_steady_kill(&e->exec->steady, addr, 1, e->position);
	if (e->shadows)
		kv_shadows_point(e->shadows, addr);
}

/* ---- kernels ---- */

/* What has memory, or gets it by this launch, of the plane whose rows the array selects. */
static uint32_t windows_of(
	const struct kv_index_use *use, const struct kv_reach *reach, struct kv_window *ret)
{
	struct kv_reservation *r = kv_core_find(kv_hooks.core, use->base);
	uint64_t page, start;
	uint32_t n = 0;

	if (!r || kv_reservation_is_static(r)) {
		ret[0] = (struct kv_window){0, use->within};
		return 1;
	}
	page = kv_reservation_page_size(r);
	start = kv_reservation_base(r);
	for (uint32_t i = 0; i < reach->n_accesses && n < KV_STEADY_WINDOWS; i++) {
		const struct kv_access *a = &reach->accesses[i];
		uint64_t low, high;

		if (a->kind == KV_ACCESS_WHOLE || a->addr < use->base ||
			a->addr - use->base >= use->within)
			continue;
		low = start + (a->addr - start) / page * page;
		high = start + ((a->addr + a->length - 1 - start) / page + 1) * page;
		low = low > use->base ? low - use->base : 0;
		high -= use->base;
		ret[n++] = (struct kv_window){low, high < use->within ? high : use->within};
	}
	return n;
}

/* What the launch writes to planes: before it is touched, see planes.h. */
static void note_rows(struct evaluation *e, const struct kv_reach *reach)
{
	struct kv_written spans[KV_REACH_ACCESSES];

	for (uint32_t i = 0; i < reach->n_planes; i++) {
		const struct kv_plane *p = &reach->planes[i];
		struct kv_reservation *r = kv_core_find(kv_hooks.core, p->base);
		uint32_t n =
			r && !kv_reservation_is_static(r) ? kv_planes_spans(reach, i, spans) : 0;

		for (uint32_t k = 0; k < n; k++)
			note(e, (struct kv_todo){.r = r,
					.offset = spans[k].low,
					.length = spans[k].high - spans[k].low,
					.kind = KV_TODO_ROWS,
					.base = p->base,
					.row_stride = p->row_stride});
	}
}

static void note_extents(struct evaluation *e, const struct kv_reach *reach)
{
	for (uint32_t i = 0; i < reach->n_extents; i++) {
		const struct kv_extent *x = &reach->extents[i];
		struct kv_reservation *r = kv_core_find(kv_hooks.core, x->plane);

		if (r && !kv_reservation_is_static(r))
			note(e, (struct kv_todo){.r = r,
					.offset = x->plane,
					.length = x->live - x->plane,
					.kind = KV_TODO_EXTENT,
					.end = x->end,
					.row_stride = x->row_stride});
	}
}

static void note_reach(
	struct evaluation *e, const struct kv_kernel *kernel, const struct kv_reach *reach)
{
	struct kv_window windows[KV_STEADY_WINDOWS];

	note_rows(e, reach);
	for (uint32_t i = 0; i < reach->n_accesses; i++) {
		const struct kv_access *a = &reach->accesses[i];
		enum kv_todo_kind kind = a->kind != KV_ACCESS_WHOLE ? KV_TODO_TOUCH
					 : a->dead                  ? KV_TODO_TRANSIENT_DEAD
								    : KV_TODO_TRANSIENT;

		struct kv_reservation *r = kv_core_find(kv_hooks.core, a->addr);

		if (r && a->length) {
			kv_reservation_ruled(r, kv_rule_family(kernel->rule));
			/* What is static is whole at each launch, and reading changes nothing. */
			if (a->kind != KV_ACCESS_READ || !kv_reservation_is_static(r))
				note(e, (struct kv_todo){r, a->addr - kv_reservation_base(r),
						a->length, kernel->by, kind});
		}
		if (a->kind != KV_ACCESS_READ)
			kill_range(e, a->addr, a->length);
	}
	if (reach->n_uses > KV_REACH_USES)
		e->steady = false;
	for (uint32_t i = 0; i < reach->n_uses && i < KV_REACH_USES; i++) {
		const struct kv_index_use *use = &reach->uses[i];

		if (!use->known) {
			e->steady = false;
			continue;
		}
		/* Other rows at the next launch. */
		kv_steady_kill(&e->exec->steady, use->base, use->within, e->position);
		kv_steady_use(&e->exec->steady, use, e->position, windows,
			windows_of(use, reach, windows));
	}
	note_extents(e, reach);
}

/* What no rule explains is an unknown kernel's. */
static void note_word(struct evaluation *e, const struct kv_kernel *kernel,
	const struct kv_kernel_word *w, uint64_t word)
{
	bool reads = kv_kernel_reads(kernel, w);
	struct kv_reservation *r;

	kill_at(e, word);
	if (kv_core_hits(kv_hooks.core, word, &r)) {
		if (!reads || !kv_reservation_is_static(r))
			note(e, (struct kv_todo){r, 0, kv_reservation_reserved(r), kernel->by,
					kernel->transient ? KV_TODO_TRANSIENT
					: reads           ? KV_TODO_LEAK_READ
							  : KV_TODO_LEAK});
	} else if (!kernel->transient && kv_track_is_host_visible(word))
		note(e, (struct kv_todo){.by = kernel->by, .kind = KV_TODO_LEAK_ALL});
}

/* Addresses may stand anywhere in the block. */
static void visit_packed(struct evaluation *e, const struct kv_node *node)
{
	const struct kv_kernel *kernel = node->kernel;
	struct kv_reservation *r;
	uint64_t word;

	for (uint32_t at = 0; at + sizeof(word) <= node->block_size; at++) {
		memcpy(&word, node->block + at, sizeof(word));
		kill_at(e, word);
		if (kv_core_hits(kv_hooks.core, word, &r))
			note(e, (struct kv_todo){.r = r, .by = kernel->by, .kind = KV_TODO_LEAK});
		else if (kv_track_is_host_visible(word))
			note(e, (struct kv_todo){.by = kernel->by, .kind = KV_TODO_LEAK_ALL});
	}
}

static void visit_kernel(struct evaluation *e, const struct kv_node *node)
{
	const struct kv_kernel *kernel = node->kernel;
	struct kv_launch launch = {.block = node->block,
		.block_size = kernel->params_size,
		.offsets = kernel->offsets};
	struct kv_reach reach;
	uint64_t explained = 0, word;

	memcpy(launch.grid, node->grid, sizeof(launch.grid));
	memcpy(launch.threads, node->threads, sizeof(launch.threads));
	if (!kernel->layout_known) {
		visit_packed(e, node);
		return;
	}
	if (!e->named && kernel->rule && kv_recognise_hits(kernel, &launch) &&
		!kv_rule_reach(kernel->rule, &launch, e->shadows, PAGE_GRAIN, &reach)) {
		explained = reach.explained;
		note_reach(e, kernel, &reach);
	}
	for (uint32_t i = 0; i < kernel->n_words; i++) {
		const struct kv_kernel_word *w = &kernel->words[i];

		if (w->param < KV_RULE_PARAMS && explained >> w->param & 1)
			continue;
		if (kv_recognise_word(&launch, w, &word))
			note_word(e, kernel, w, word);
	}
}

/* ---- copies and sets ---- */

static void note_address(void *ctx, struct kv_reservation *r)
{
	note(ctx, (struct kv_todo){r, 0, 0, "cuGraphLaunch", KV_TODO_LEAK_HOST});
}

/*
 * A copy from host memory reads it anew at each launch. Where nothing in the graph changes it
 * meanwhile, it is what stands there now; else whatever addresses it brings may be followed.
 */
static void visit_upload(struct evaluation *e, const struct kv_node *node)
{
	const struct kv_node_end *src = &node->copy.src;
	enum kv_track_kind kind;
	uint64_t base, size;

	e->steady = false;
	if (src->length < sizeof(CUdeviceptr))
		return;
	if (!node->copy.linear || e->exec->record.host_changes ||
		src->length > kv_hooks.config.scan_bytes ||
		(kv_track_find(src->addr, &kind, &base, &size) && kind == KV_TRACK_MANAGED))
		note(e, (struct kv_todo){.by = "cuGraphLaunch", .kind = KV_TODO_LEAK_ALL});
	else
		kv_upload_find((const void *)src->addr, src->length, note_address, e);
}

static void visit_copy(struct evaluation *e, const struct kv_node *node)
{
	const struct kv_node_end *dst = &node->copy.dst, *src = &node->copy.src;

	note_range(e, KV_TODO_TOUCH, dst->addr, dst->length, "cuGraphLaunch");
	note_range(e, KV_TODO_TOUCH, src->addr, src->length, "cuGraphLaunch");
	if (src->host)
		visit_upload(e, node);
	kv_steady_kill(&e->exec->steady, dst->addr, dst->length, e->position);
	if (!e->shadows || dst->host)
		return;
	if (!src->host && src->length && node->copy.linear && dst->length == src->length)
		kv_shadows_copy(e->shadows, dst->addr, src->addr, dst->length);
	else
		kv_shadows_kill(e->shadows, dst->addr, dst->length);
}

static void visit_set(struct evaluation *e, const struct kv_node *node)
{
	note_range(e, node->set.zero && !e->named ? KV_TODO_ZERO : KV_TODO_TOUCH, node->set.dst,
		node->set.length, "cuGraphLaunch");
	kill_range(e, node->set.dst, node->set.length);
}

static void visit(struct evaluation *e, const struct kv_node *node)
{
	if (node->disabled && !e->named)
		return;
	switch (node->kind) {
	case KV_NODE_KERNEL:
		visit_kernel(e, node);
		break;
	case KV_NODE_COPY:
		visit_copy(e, node);
		break;
	case KV_NODE_SET:
		visit_set(e, node);
		break;
	case KV_NODE_OPAQUE:
		e->steady = false;
		if (e->shadows)
			kv_shadows_clear(e->shadows);
		break;
	default:
		break;
	}
}

/* ---- a launch ---- */

static void tell(const struct kv_record *record)
{
	/* By record->named. atomic: seq_cst; the operator hears of the first one */
	static _Atomic bool told[2];

	if (!atomic_exchange(&told[record->named], true))
		kv_hooks_log(1, "graph", "a graph cannot be read (%s): %s static from now on",
			record->unknown,
			record->named ? "what its nodes name is" : "all reservations are");
}

static int launch_unknown(const struct kv_exec *exec)
{
	tell(&exec->record);
	kv_recognise_forget();
	kv_leak_all(kv_hooks.core, KV_STATIC_GRAPH, exec->record.unknown);
	return 0;
}

static int evaluate_all(struct kv_exec *exec, uint64_t losses)
{
	struct evaluation e = {.exec = exec, .steady = true, .named = exec->record.named};
	int err;

	exec->n_todos = 0;
	e.shadows = kv_recognise_lock();
	if (e.named && e.shadows)
		kv_shadows_clear(e.shadows); /* who writes what and when is not known */
	kv_steady_begin(&exec->steady, losses);
	exec->steady.look_ahead = kv_hooks.config.ahead;
	exec->steady.grid = kv_planes_grid();
	for (; e.position < exec->record.n_nodes; e.position++)
		visit(&e, &exec->record.nodes[e.position]);
	e.steady = e.steady && !e.no_memory && !e.named;
	kv_steady_end(&exec->steady, e.shadows, &kv_recognise_quick, e.steady);
	kv_recognise_unlock();
	if (e.named)
		tell(&exec->record);
	err = kv_todos_do(exec, &exec->zeroes);
	exec->steady.revision = kv_planes_revision();
	/* No room to note down what has to be touched: there is none to touch it either. */
	if (e.no_memory)
		err = -ENOMEM;
	if (err)
		exec->steady.valid = false;
	return err;
}

/* Does this launch need nothing? No lock, while launches and uploads take turns. */
static bool is_as_before(struct kv_exec *exec, uint64_t losses)
{
	enum kv_glance glance;
	bool done;

	if (!exec->steady.valid || exec->steady.revision != kv_planes_revision())
		return false;
	glance = kv_steady_glance(&exec->steady, &kv_recognise_quick, losses);
	if (kv_likely(glance != KV_GLANCE_ASK))
		return glance == KV_GLANCE_DONE;
	done = kv_steady_launch(&exec->steady, kv_recognise_lock(), losses);
	kv_recognise_unlock();
	return done;
}

int kv_exec_evaluate(struct kv_exec *exec)
{
	uint64_t losses = kv_core_losses(kv_hooks.core);

	if (kv_unlikely(exec->record.unknown && !exec->record.named))
		return launch_unknown(exec);
	if (kv_likely(is_as_before(exec, losses)))
		return 0;
	return evaluate_all(exec, losses);
}
