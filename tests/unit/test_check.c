/* SPDX-License-Identifier: Apache-2.0 */
/* test_check.c - negative controls: each checker bites, and each rule of the fake device does. */
#include "core/page.h"
#include "core/space.h"
#include "tests/unit/test.h"

#define P 4096ull

Test(page, goes_only_where_the_state_machine_lets_it)
{
	static const bool may[5][5] = {
		/* to: EMPTY, BACKED, EVICTED, SPILLED, BUSY */
		[KV_PAGE_EMPTY] = {0, 0, 0, 0, 1},
		[KV_PAGE_BACKED] = {0, 0, 0, 0, 1},
		[KV_PAGE_EVICTED] = {1, 0, 0, 0, 1},
		[KV_PAGE_SPILLED] = {0, 0, 0, 0, 1},
		[KV_PAGE_BUSY] = {1, 1, 1, 1, 0},
	};

	for (int from = 0; from < 5; from++) {
		for (int to = 0; to < 5; to++)
			cr_assert(kv_page_may(from, to) == may[from][to], "%d to %d", from, to);
	}
}

/* What is broken on purpose, and what the checker should say. */
static void break_it(
	struct kv_core *core, struct kv_space *space, struct kv_reservation *r, int how)
{
	switch (how) {
	case 0:
		r->pages[0].state = KV_PAGE_EMPTY;
		break;
	case 1:
		r->pages[0].handle = 0;
		break;
	case 2:
		r->pages[5].state = KV_PAGE_BUSY;
		break;
	case 3:
		r->pages[5].host = r;
		break;
	case 4:
		r->pages[0].flags |= KV_PAGE_HOST;
		break;
	case 5:
		r->pages[5].flags |= KV_PAGE_ZERO;
		break;
	case 6:
		r->pages[0].flags |= KV_PAGE_BIG;
		break;
	case 7:
		atomic_store(&r->quiet, true);
		break;
	case 8:
		r->unsettled = true;
		break;
	case 9:
		atomic_fetch_add(&space->reserved, 1);
		break;
	case 10:
		atomic_fetch_add(&space->backed, P);
		break;
	case 11:
		atomic_fetch_add(&space->host_taken, P);
		break;
	case 12:
		space->store.n_slots_used++;
		break;
	case 13:
		atomic_fetch_add(&core->table.base[0], 1);
		break;
	case 14:
		atomic_fetch_add(&core->hot.lo, 1);
		break;
	case 15:
		atomic_fetch_add(&core->hot.n_live, 1);
		break;
	case 16:
		atomic_fetch_add(&core->hot.n_unsettled, 1);
		break;
	case 17:
		atomic_fetch_add(&core->hot.gate.slots[77].word, 1);
		break;
	case 18:
		atomic_store(&core->hot.gate.closed, 1);
		break;
	case 19:
		atomic_fetch_add(&space->n_static, 1);
		break;
	case 20:
		atomic_store(&core->table.quiet[0], true);
		break;
	case 21:
		r->n_with_memory++;
		break;
	case 22:
		atomic_store(&core->table.seq, 1);
		break;
	}
}

Test(check, notices_whatever_is_broken)
{
	for (int how = 0; how < 23; how++) {
		struct fixture f;
		struct buffer b;
		char text[200];

		fixture_open(&f, (struct fixture_options){.spare_pages = 2});
		EXPECT(buffer_new(&f, 8 * P, &b), 0);
		EXPECT(app_write(&f, &b, 0, P, 1), 0);
		EXPECT_SANE(&f);
		break_it(f.core, f.space, b.r, how);
		cr_assert(kv_core_check(f.core, text, sizeof(text)) == -EPROTO, "break %d", how);
		cr_assert(text[0] != '\0', "break %d has no text", how);
		EXPECT(kv_core_check(f.core, NULL, 0), -EPROTO);
		/* Broken beyond repair: left to the end of the process. */
	}
}

static struct fake_gpu *gpu;

static int breaches(void)
{
	return (int)fake_gpu_n_breaches(gpu);
}

Test(fake, catches_what_a_driver_would_not_forgive)
{
	const struct kv_gpu_ops *ops = &fake_gpu_ops;
	kv_gpu_addr a;
	kv_gpu_handle h, big, free_handle;
	struct kv_gate gate;
	uint8_t byte = 1;
	void *host;

	kv_gate_init(&gate);
	gpu = fake_gpu_new(P, 100 * P, true);
	fake_gpu_watch_gate(gpu, &gate);
	EXPECT(ops->range_reserve(gpu, 8 * P, P, &a), 0);
	EXPECT(ops->handle_create(gpu, P, KV_GPU_DEVICE, &h), 0);
	EXPECT(ops->handle_create(gpu, 2 * P, KV_GPU_DEVICE, &big), 0);
	EXPECT(ops->handle_create(gpu, P, KV_GPU_DEVICE, &free_handle), 0);
	EXPECT(ops->host_alloc(gpu, P, &host), 0);
	EXPECT(ops->map(gpu, a, P, h), 0);
	EXPECT(ops->map(gpu, a + 2 * P, 2 * P, big), 0);
	EXPECT(breaches(), 0);
	EXPECT(ops->map(gpu, a, P, free_handle), -EINVAL); /* over a mapping */
	EXPECT(breaches(), 1);
	EXPECT(ops->zero(gpu, a, P), -EINVAL); /* no access yet */
	EXPECT(breaches(), 2);
	EXPECT(ops->set_access(gpu, a, 3 * P), -EINVAL); /* over a hole */
	EXPECT(breaches(), 3);
	EXPECT(ops->unmap(gpu, a + 2 * P, P), -EINVAL); /* part of a mapping */
	EXPECT(breaches(), 4);
	EXPECT(ops->unmap(gpu, a, 4 * P), -EINVAL); /* over a hole */
	EXPECT(breaches(), 5);
	EXPECT(ops->copy_out(gpu, host, a + P, P), -EINVAL); /* unmapped */
	EXPECT(breaches(), 6);
	EXPECT(ops->set_access(gpu, a, P), 0);
	EXPECT(ops->copy_out(gpu, &byte, a, 1), -EINVAL); /* not pinned */
	EXPECT(breaches(), 7);
	EXPECT(ops->zero(gpu, a, P), 0);
	EXPECT(ops->unmap(gpu, a, P), -EINVAL); /* being filled */
	EXPECT(breaches(), 8);
	fake_gpu_read(gpu, a, &byte, 1); /* before the flush */
	EXPECT(breaches(), 9);
	EXPECT(ops->flush(gpu), 0);
	fake_gpu_read(gpu, a, &byte, 1);
	EXPECT(breaches(), 9);
	EXPECT(byte, 0);
	EXPECT(ops->unmap(gpu, a, P), -EINVAL); /* work in flight */
	EXPECT(breaches(), 10);
	EXPECT(ops->drain(gpu, 1), 0); /* the gate is open */
	EXPECT(breaches(), 11);
	EXPECT(ops->range_free(gpu, a, 8 * P), -EINVAL); /* mapped */
	EXPECT(breaches(), 12);
	EXPECT(ops->handle_release(gpu, free_handle), 0);
	EXPECT(ops->handle_release(gpu, free_handle), -EINVAL); /* twice */
	EXPECT(breaches(), 13);
	fake_gpu_write(gpu, a + 7 * P, &byte, 1); /* unmapped */
	EXPECT(breaches(), 14);
	EXPECT(ops->handle_create(gpu, P, KV_GPU_DEVICE, &free_handle), 0);
	EXPECT(ops->map(gpu, a + P, P, free_handle), 0);
	EXPECT(ops->set_access(gpu, a + P, P), 0);
	fake_gpu_read(gpu, a + P, &byte, 1);
	EXPECT(byte, FAKE_POISON);
	EXPECT(fake_gpu_free(gpu), 5); /* a range, three handles, host memory */
}
