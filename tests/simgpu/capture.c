/* SPDX-License-Identifier: Apache-2.0 */
#include "memory.h"
_Atomic uint32_t sim_captures_open;
CUresult sim_capture_add(struct sim_stream *stream, struct sim_work *work)
{
	return CUDA_ERROR_NOT_SUPPORTED;
}
CUresult sim_capture_unsafe(void)
{
	return CUDA_SUCCESS;
}
CUresult sim_capture_break(struct sim_stream *stream)
{
	return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}
CUresult sim_capture_implicit(struct sim_stream *legacy)
{
	return CUDA_SUCCESS;
}
CUresult sim_capture_record(struct sim_stream *stream, struct sim_event *event)
{
	return CUDA_ERROR_NOT_SUPPORTED;
}
CUresult sim_capture_wait(struct sim_stream *stream, struct sim_event *event)
{
	return CUDA_ERROR_NOT_SUPPORTED;
}
void sim_exec_nodes_run(struct sim_context *context, struct sim_exec_nodes *nodes)
{
}
void sim_exec_nodes_put(struct sim_exec_nodes *nodes)
{
}
bool sim_exec_nodes_touch(const struct sim_exec_nodes *nodes, uint64_t addr, uint64_t end, uint64_t range,
	uint64_t range_end)
{
	return false;
}
void sim_graph_free(struct sim_graph *graph)
{
}
void sim_pool_free_async(uint64_t addr)
{
}
