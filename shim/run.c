/* SPDX-License-Identifier: Apache-2.0 */
/* run.c - `kvshim run`: sets LD_PRELOAD and the options, then becomes the command. */
#include <dlfcn.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shim/command.h"
#include "shim/config.h"

#define LIBRARY "libkvshim.so"
#define FLAG_BYTES 48

enum {
	ARG_HELP = 1000,
	ARG_LIB,
	ARG_VERBOSE,
};

static int fail(int status, const char *what, const char *why)
{
	fprintf(stderr, "kvshim run: %s%s\n", what, why);
	return status;
}

static void print_help(void)
{
	char flag[FLAG_BYTES];

	puts("usage: kvshim run [OPTIONS] [--] COMMAND [ARGUMENT...]\n\n"
	     "  --lib PATH                   the libkvshim.so to preload (else the one that "
	     "belongs to this "
	     "command)\n"
	     "  --verbose                    say what is set\n\n"
	     "Every option of kvshim (`kvshim explain`):");
	for (int i = 0; i < KV_OPT_COUNT; i++) {
		kv_option_flag(&kv_options[i], flag, sizeof(flag));
		printf("  --%-26s %s\n", flag, kv_options[i].sentence);
	}
}

/* Beside the command (build tree), else where it was installed relative to the command, else where
 * the build meant it to be. */
static bool find_library(char ret_path[PATH_MAX])
{
	char self[PATH_MAX], candidate[2 * PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n > 0) {
		self[n] = '\0';
		slash = strrchr(self, '/');
		if (slash)
			*slash = '\0';
		snprintf(candidate, sizeof(candidate), "%s/" LIBRARY, self);
		if (realpath(candidate, ret_path))
			return true;
		snprintf(candidate, sizeof(candidate), "%s/../" KVSHIM_LIBDIR "/" LIBRARY, self);
		if (realpath(candidate, ret_path))
			return true;
	}
	return realpath(KVSHIM_PREFIX "/" KVSHIM_LIBDIR "/" LIBRARY, ret_path) != NULL;
}

static bool is_shim(const char *entry, size_t length)
{
	size_t name = strlen(LIBRARY);

	return length >= name && strncmp(entry + length - name, LIBRARY, name) == 0 &&
	       (length == name || entry[length - name - 1] == '/');
}

/*
 * Ours first, then what was there in its order. An entry that is a libkvshim.so already, by this
 * path or another, is left out: two of them in one process would stand in each other's way.
 */
static int set_preload(const char *library)
{
	const char *old = getenv("LD_PRELOAD");
	size_t size = strlen(library) + (old ? strlen(old) : 0) + 2;
	char *list = malloc(size);
	int error = 0;

	if (!list)
		return -ENOMEM;
	strcpy(list, library);
	while (old && *old) {
		size_t length = strcspn(old, ": ");

		if (length && !is_shim(old, length)) {
			size_t used = strlen(list);

			list[used] = ':';
			memcpy(list + used + 1, old, length);
			list[used + 1 + length] = '\0';
		}
		old += length + (old[length] != '\0');
	}
	if (setenv("LD_PRELOAD", list, 1) != 0)
		error = -errno;
	free(list);
	return error;
}

static int set_option(enum kv_option_id id, const char *value)
{
	const struct kv_option *option = &kv_options[id];
	char range[160], line[320];

	if (value[0] && kv_option_parse(option, value, NULL) != 0) {
		kv_option_describe_range(option, range, sizeof(range));
		snprintf(line, sizeof(line), "%.60s is no value for %s: give %s", value,
			option->name, range);
		return fail(2, line, "");
	}
	return setenv(option->name, value, 1) == 0 ? 0 : fail(1, "cannot set the environment", "");
}

/* Reads the flags in front of the command. Returns 0, an exit status, or -1 after --help. */
static int read_flags(int argc, char **argv, const char **ret_library, bool *ret_verbose)
{
	char flags[KV_OPT_COUNT][FLAG_BYTES];
	struct option longs[KV_OPT_COUNT + 4] = {0};
	int c, status, n = KV_OPT_COUNT;

	for (int i = 0; i < KV_OPT_COUNT; i++) {
		kv_option_flag(&kv_options[i], flags[i], FLAG_BYTES);
		longs[i] = (struct option){flags[i], required_argument, NULL, i};
	}
	longs[n++] = (struct option){"help", no_argument, NULL, ARG_HELP};
	longs[n++] = (struct option){"lib", required_argument, NULL, ARG_LIB};
	longs[n++] = (struct option){"verbose", no_argument, NULL, ARG_VERBOSE};
	opterr = 0;
	while ((c = getopt_long(argc, argv, "+:hv", longs, NULL)) != -1) {
		if (c == ARG_HELP || c == 'h') {
			print_help();
			return -1;
		} else if (c == ARG_LIB) {
			*ret_library = optarg;
		} else if (c == ARG_VERBOSE || c == 'v') {
			*ret_verbose = true;
		} else if (c == ':') {
			return fail(2, argv[optind - 1], " needs a value; try `kvshim run --help`");
		} else if (c == '?') {
			return fail(2, argv[optind - 1], " is no option; try `kvshim run --help`");
		} else {
			status = set_option((enum kv_option_id)c, optarg);
			if (status)
				return status;
		}
	}
	return 0;
}

/*
 * The preloaded library cannot say that there is no driver: nobody would call it. Only the loader
 * knows all the places where it may be. Its constructors talk to no device.
 */
static void warn_without_driver(const char *command)
{
	if (!dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL))
		fprintf(stderr,
			"kvshim run: the loader finds no libcuda.so.1 here; %s runs without a GPU "
			"unless it brings a driver along\n",
			command);
}

int kv_command_run(int argc, char **argv)
{
	const char *given = NULL;
	char library[PATH_MAX];
	bool verbose = false;
	int status = read_flags(argc, argv, &given, &verbose);

	if (status)
		return status < 0 ? 0 : status;
	if (optind >= argc)
		return fail(2, "no command given; try `kvshim run --help`", "");
	if (given && !realpath(given, library))
		return fail(2, "there is no library ", given);
	if (!given && !find_library(library))
		return fail(1, "cannot find " LIBRARY "; name it with --lib PATH", "");
	if (strpbrk(library, ": "))
		return fail(1, "the loader takes no library with a space or a colon in its path: ",
			library);
	if (set_preload(library) != 0)
		return fail(1, "cannot set LD_PRELOAD: ", strerror(errno));
	if (verbose)
		fprintf(stderr, "kvshim run: LD_PRELOAD=%s\n", getenv("LD_PRELOAD"));
	warn_without_driver(argv[optind]);
	execvp(argv[optind], argv + optind);
	status = errno == ENOENT ? 127 : 126;
	fprintf(stderr, "kvshim run: cannot run %s: %s\n", argv[optind], strerror(errno));
	return status;
}
