/* SPDX-License-Identifier: Apache-2.0 */
/*
 * streams.c - streams, events, captures and graphs of the libcudart stand-in: the driver's, one to
 * one.
 *
 * The special streams (NULL, 1: legacy, 2: per thread) have the same numbers in both APIs.
 */
#include "exports.h"

EXPORT int cudaStreamCreateWithFlags(CUstream *stream, unsigned flags)
{
	RT_CALL(d->cuStreamCreate(stream, flags));
}

EXPORT int cudaStreamDestroy(CUstream stream)
{
	RT_CALL(d->cuStreamDestroy(stream));
}

EXPORT int cudaStreamSynchronize(CUstream stream)
{
	RT_CALL(d->cuStreamSynchronize(stream));
}

EXPORT int cudaStreamWaitEvent(CUstream stream, CUevent event, unsigned flags)
{
	RT_CALL(d->cuStreamWaitEvent(stream, event, flags));
}

EXPORT int cudaStreamBeginCapture(CUstream stream, int mode)
{
	RT_CALL(d->cuStreamBeginCapture(stream, (CUstreamCaptureMode)mode));
}

EXPORT int cudaStreamEndCapture(CUstream stream, CUgraph *graph)
{
	RT_CALL(d->cuStreamEndCapture(stream, graph));
}

EXPORT int cudaStreamIsCapturing(CUstream stream, int *status)
{
	RT_CALL(d->cuStreamIsCapturing(stream, (CUstreamCaptureStatus *)status));
}

EXPORT int cudaEventCreateWithFlags(CUevent *event, unsigned flags)
{
	RT_CALL(d->cuEventCreate(event, flags));
}

EXPORT int cudaEventDestroy(CUevent event)
{
	RT_CALL(d->cuEventDestroy(event));
}

EXPORT int cudaEventRecord(CUevent event, CUstream stream)
{
	RT_CALL(d->cuEventRecord(event, stream));
}

EXPORT int cudaEventSynchronize(CUevent event)
{
	RT_CALL(d->cuEventSynchronize(event));
}

EXPORT int cudaGraphInstantiate(CUgraphExec *exec, CUgraph graph, unsigned long long flags)
{
	RT_CALL(d->cuGraphInstantiateWithFlags(exec, graph, flags));
}

EXPORT int cudaGraphExecUpdate(CUgraphExec exec, CUgraph graph, CUgraphExecUpdateResultInfo *result)
{
	RT_CALL(d->cuGraphExecUpdate(exec, graph, result));
}

EXPORT int cudaGraphLaunch(CUgraphExec exec, CUstream stream)
{
	RT_CALL(d->cuGraphLaunch(exec, stream));
}

EXPORT int cudaGraphDestroy(CUgraph graph)
{
	RT_CALL(d->cuGraphDestroy(graph));
}

EXPORT int cudaGraphExecDestroy(CUgraphExec exec)
{
	RT_CALL(d->cuGraphExecDestroy(exec));
}
