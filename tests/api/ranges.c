/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ranges.c - NVTX ranges and rules of the operator as tags. Uses NVTX's own headers as an engine
 * does; KVSHIM_NVTX_KV is "kv *,cache" and KVSHIM_TAGS tags what is 6 MiB large.
 */
#include <nvtx3/nvToolsExt.h>

#include "shim/kvshim.h"
#include "tests/memory/check.h"

static const char *tag_of(uint64_t base)
{
	static struct kvshim_reservation row;

	row.size = sizeof(row);
	return kvshim_reservation_next(base - 1, &row) == 0 && row.base == base ? row.tag
										: "native";
}

static void is_tagged(size_t size, const char *tag)
{
	CUdeviceptr at = reserve(size);

	if (!CHECK(!strcmp(tag_of(at), tag)))
		printf("%s, not %s\n", tag_of(at), tag);
	OK(cuMemFree(at));
}

static void ranges(void)
{
	nvtxDomainHandle_t domain = nvtxDomainCreateA("engine");
	nvtxEventAttributes_t event = {.version = NVTX_VERSION,
		.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE,
		.messageType = NVTX_MESSAGE_TYPE_ASCII,
		.message.ascii = "cache"};

	is_tagged(PAGE, "native");
	nvtxRangePushA("step 5");
	nvtxRangePushA("kv alloc");
	is_tagged(PAGE, "kv alloc");
	nvtxRangePushA("inner");
	is_tagged(PAGE, "kv alloc");
	nvtxRangePop();
	nvtxRangePop();
	is_tagged(PAGE, "native");
	nvtxDomainRangePushEx(domain, &event);
	is_tagged(PAGE, "cache");
	nvtxDomainRangePop(domain);
	is_tagged(PAGE, "native");
	event.messageType = NVTX_MESSAGE_TYPE_REGISTERED;
	event.message.registered = nvtxDomainRegisterStringA(domain, "kv by handle");
	nvtxDomainRangePushEx(domain, &event);
	is_tagged(PAGE, "kv by handle");
	nvtxDomainRangePop(domain);
	event.message.registered = nvtxDomainRegisterStringW(domain, L"kv w\u00efde");
	nvtxDomainRangePushEx(domain, &event);
	is_tagged(PAGE, "kv w\u00efde");
	nvtxDomainRangePop(domain);
	event.message.registered = NULL;
	nvtxDomainRangePushEx(domain, &event);
	is_tagged(PAGE, "native");
	nvtxDomainRangePop(domain);
	nvtxRangePop();
	CHECK(nvtxRangePop() < 0);
	nvtxDomainDestroy(domain);
}

static void wide(void)
{
	/* Of one, two, three and four bytes; no character; and one that is cut. */
	static const wchar_t odd[] = {L'k', L'v', L' ', 0xdf, 0x20ac, 0x1f600, 0xd800, 0x110000, 0};
	nvtxEventAttributes_t event = {.version = NVTX_VERSION,
		.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE,
		.messageType = NVTX_MESSAGE_TYPE_UNICODE,
		.message.unicode = L"cache"};
	wchar_t endless[400] = L"kv ";

	nvtxRangePushW(L"kv wide");
	is_tagged(PAGE, "kv wide");
	nvtxRangePushW(L"other");
	nvtxRangePop();
	is_tagged(PAGE, "kv wide");
	nvtxRangePop();
	nvtxRangePushEx(&event);
	is_tagged(PAGE, "cache");
	nvtxRangePop();
	nvtxRangePushW(odd);
	is_tagged(PAGE, "kv \u00df\u20ac\U0001f600??");
	nvtxRangePop();
	for (int i = 3; i < 399; i++)
		endless[i] = 0x20ac;
	nvtxRangePushW(endless); /* 31 bytes of it are the tag */
	is_tagged(PAGE, "kv \u20ac\u20ac\u20ac\u20ac\u20ac\u20ac\u20ac\u20ac\u20ac\xe2");
	nvtxRangePop();
	nvtxRangePushW(NULL);
	is_tagged(PAGE, "native");
	nvtxRangePop();
}

static void rules(void)
{
	is_tagged(6 * MIB, "by-size");
	CHECK(kvshim_tag_push("mine", KVSHIM_MODE_KEEP, 5) == 0);
	is_tagged(6 * MIB, "mine");
	CHECK(kvshim_tag_pop() == 0);
	is_tagged(20 * MIB, "native"); /* a rule says so */
}

int main(void)
{
	CUcontext context;
	CUdevice device;

	OK(cuInit(0));
	OK(cuDeviceGet(&device, 0));
	OK(cuDevicePrimaryCtxRetain(&context, device));
	OK(cuCtxSetCurrent(context));
	says("ranges that are listed are tags", ranges);
	says("wide names, too", wide);
	says("what the program does not tag, the operator does", rules);
	OK(cuDevicePrimaryCtxRelease(device));
	return failures ? 1 : 0;
}
