/* SPDX-License-Identifier: Apache-2.0 */
/* bystander.c - a program that has nothing to do with CUDA: says how it was started and what was
 * loaded into it. */
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>

int main(void)
{
	char line[512];
	int preloaded = 0;
	FILE *maps = fopen("/proc/self/maps", "r");

	while (maps && fgets(line, sizeof(line), maps))
		preloaded |= strstr(line, "libkvshim") != NULL;
	if (maps)
		fclose(maps);
	printf("secure: %s\n", getauxval(AT_SECURE) ? "yes" : "no");
	printf("preloaded: %s\n", preloaded ? "yes" : "no");
	return 0;
}
