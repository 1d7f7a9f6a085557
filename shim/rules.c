/* SPDX-License-Identifier: Apache-2.0 */
/* rules.c - see rules.h. */
#include "shim/rules.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hooks/rules/rules.h"
#include "shim/log.h"
#include "shim/profiles/profiles.h"

#define FILE_MAX (1 << 20) /* bytes; what the parser takes */

/* On success the caller frees *ret_text. */
static int read_file(const char *path, char **ret_text, size_t *ret_size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err = 0;
	struct stat st;
	size_t size = 0;
	ssize_t n;
	char *text;

	if (fd < 0)
		return -errno;
	text = malloc(FILE_MAX);
	if (!text) {
		err = -ENOMEM;
		goto close_file;
	}
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size > FILE_MAX) {
		err = -EINVAL;
		goto free_text;
	}
	while (size < FILE_MAX && (n = read(fd, text + size, FILE_MAX - size)) != 0) {
		if (n > 0) {
			size += (size_t)n;
		} else if (errno != EINTR) {
			err = -errno;
			goto free_text;
		}
	}
	close(fd);
	*ret_text = text;
	*ret_size = size;
	return 0;

free_text:
	free(text);
close_file:
	close(fd);
	return err;
}

/* NULL: refused, and said so. */
static const struct kv_ruleset *from_file(const char *path)
{
	struct kv_rules_error error;
	struct kv_ruleset *set = NULL;
	char *text = NULL;
	size_t size = 0;
	int err = read_file(path, &text, &size);

	if (err) {
		kv_log(KV_LOG_WARN, "rules", "%s: %s; using the built-in rules", path,
			strerror(-err));
		return NULL;
	}
	err = kv_ruleset_parse(text, size, &set, &error);
	free(text);
	if (err == -EINVAL)
		kv_log(KV_LOG_WARN, "rules", "%s:%u: %s; using the built-in rules", path,
			error.line, error.reason);
	return err ? NULL : set;
}

const struct kv_ruleset *kv_rules_load(const char *choice)
{
	const struct kv_ruleset *set = NULL;
	struct kv_rules_error error;
	struct kv_ruleset *built_in;

	if (!strcasecmp(choice, "off"))
		return NULL;
	if (choice[0] == '/')
		set = from_file(choice);
	if (set)
		return set;
	if (kv_ruleset_parse(kv_profile_llama, kv_profile_llama_size, &built_in, &error)) {
		kv_log(KV_LOG_WARN, "rules",
			"the built-in rules: line %u: %s; every kernel is unknown", error.line,
			error.reason);
		return NULL;
	}
	return built_in;
}
