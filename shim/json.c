/* SPDX-License-Identifier: Apache-2.0 */
/* json.c - see json.h. */
#include "shim/json.h"

#include <stdint.h>

/*
 * Length of the UTF-8 sequence that begins at text, 0 if none does. A sequence that the terminating
 * NUL cuts off is none. Lead bytes and the range of the byte behind them as in table 3-7 of
 * Unicode.
 */
static int sequence(const uint8_t *text)
{
	uint8_t low = 0x80, high = 0xbf;
	int length;

	if (text[0] < 0x80)
		return 1;
	if (text[0] < 0xc2 || text[0] > 0xf4)
		return 0;
	length = text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;
	if (text[0] == 0xe0)
		low = 0xa0;
	else if (text[0] == 0xed)
		high = 0x9f;
	else if (text[0] == 0xf0)
		low = 0x90;
	else if (text[0] == 0xf4)
		high = 0x8f;
	if (text[1] < low || text[1] > high)
		return 0;
	for (int i = 2; i < length; i++)
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	return length;
}

void kv_json_string(FILE *out, const char *text)
{
	const uint8_t *at = (const uint8_t *)text;
	int length;

	if (!text) {
		fputs("null", out);
		return;
	}
	fputc('"', out);
	for (; *at; at += length ? length : 1) {
		length = sequence(at);
		if (!length)
			fputs("\\ufffd", out);
		else if (*at == '"' || *at == '\\')
			fprintf(out, "\\%c", *at);
		else if (*at < 0x20 || *at == 0x7f)
			fprintf(out, "\\u%04x", *at);
		else
			fwrite(at, 1, (size_t)length, out);
	}
	fputc('"', out);
}

void kv_json_member(FILE *out, const char *key, const char *text)
{
	kv_json_string(out, key);
	fputc(':', out);
	kv_json_string(out, text);
}
