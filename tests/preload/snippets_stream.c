/* SPDX-License-Identifier: Apache-2.0 */
/* snippets_stream.c - streams, and words that the GPU writes and polls; see fixture.h. */
#include "fixture.h"

#define WORD 0x1234567u

/* ---- before ---- */

static bool stream(struct fixture *f)
{
	f->out_stream = NULL;
	return CHECK_OK(f->d->cuStreamCreate(&f->out_stream, CU_STREAM_NON_BLOCKING));
}

/* A word to be written, in a page that is empty. */
static bool word(struct fixture *f)
{
	f->mem_ops[0] = (CUstreamBatchMemOpParams){
		.writeValue = {.operation = CU_STREAM_MEM_OP_WRITE_VALUE_32, .value = WORD}};
	if (!prepare_reservation(f))
		return false;
	f->mem_ops[0].writeValue.address = f->fresh;
	return true;
}

/* A word that already has the value that is waited for. */
static bool written(struct fixture *f)
{
	return prepare_reservation(f) && CHECK_OK(f->d->cuMemsetD32_v2(f->fresh, WORD, 2)) &&
	       fixture_finish(f);
}

/* ---- after ---- */

static bool made(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) &&
	       CHECK_OK(f->d->cuMemsetD8Async(f->big, 1, BYTES, f->out_stream)) &&
	       CHECK_OK(f->d->cuStreamDestroy_v2(f->out_stream));
}

static bool word_is_there(struct fixture *f, CUresult result)
{
	uint32_t value = 0;

	return CHECK_OK(result) && fixture_finish(f) &&
	       CHECK_OK(f->d->cuMemcpyDtoH_v2(&value, f->fresh, sizeof(value))) &&
	       CHECK(value == WORD);
}

/* clang-format off */
#define BOTH(X, symbol, prepare, arguments, check) \
	X(symbol, prepare, arguments, check) \
	X(symbol##_ptsz, prepare, arguments, check)
#define WRITES(X, symbol) BOTH(X, symbol, word, (f->stream, f->fresh, WORD, 0), word_is_there)
#define WAITS(X, symbol) BOTH(X, symbol, written, (f->stream, f->fresh, WORD, CU_STREAM_WAIT_VALUE_GEQ), check_ok)

#define LIST(X) \
	X(cuStreamCreate, NULL, (&f->out_stream, CU_STREAM_NON_BLOCKING), made) \
	X(cuStreamCreateWithPriority, NULL, (&f->out_stream, CU_STREAM_DEFAULT, 0), made) \
	X(cuGreenCtxStreamCreate, NULL, (&f->out_stream, NULL, CU_STREAM_NON_BLOCKING, 0), NULL) \
	X(cuStreamDestroy, stream, (f->out_stream), check_ok) \
	X(cuStreamDestroy_v2, stream, (f->out_stream), check_ok) \
	WRITES(X, cuStreamWriteValue32) WRITES(X, cuStreamWriteValue32_v2) \
	WRITES(X, cuStreamWriteValue64) WRITES(X, cuStreamWriteValue64_v2) \
	WAITS(X, cuStreamWaitValue32) WAITS(X, cuStreamWaitValue32_v2) \
	WAITS(X, cuStreamWaitValue64) WAITS(X, cuStreamWaitValue64_v2) \
	BOTH(X, cuStreamBatchMemOp, word, (f->stream, 1, f->mem_ops, 0), word_is_there) \
	BOTH(X, cuStreamBatchMemOp_v2, word, (f->stream, 1, f->mem_ops, 0), word_is_there)
/* clang-format on */

SNIPPETS(snippets_stream, LIST)
