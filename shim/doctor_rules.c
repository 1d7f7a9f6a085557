/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor_rules.c - `kvshim doctor --rules`: checks a rule file, or says which kernels of an
 * engine's library the rules recognise. Reads files only; needs neither a GPU nor a driver.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hooks/cubin.h"
#include "hooks/fatbin.h"
#include "hooks/ptx.h"
#include "hooks/rules/rules.h"
#include "hooks/rules/signature.h"
#include "shim/command/command.h"
#include "shim/profiles/profiles.h"

#define VARIANTS_SHOWN 200

struct file {
	const uint8_t *data;
	size_t size;
};

/* One line of the list: kernels of a family with the same fate. */
struct row {
	const char *family; /* belongs to the rules */
	bool recognised;
	uint32_t kernels;
	char text[VARIANTS_SHOWN]; /* the variants, or what the first kernel takes */
};

struct survey {
	const struct kv_ruleset *set;
	char **names; /* seen; open addressing; owned */
	uint32_t n_names, n_slots, n_images;
	struct row *rows; /* owned */
	uint32_t n_rows;
	const void *image; /* the entry at hand */
	size_t image_size;
	bool is_ptx;
};

static int map_file(const char *path, struct file *ret_file)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = 0;
	struct stat st;
	void *at;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st)) {
		err = -errno;
	} else if (!S_ISREG(st.st_mode) || !st.st_size) {
		err = -EINVAL;
	} else {
		at = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		err = at == MAP_FAILED ? -errno : 0;
		*ret_file = (struct file){at, st.st_size};
	}
	close(fd);
	return err;
}

/* ---- names seen ---- */

static uint32_t hash(const char *name)
{
	uint32_t h = 2166136261u;

	while (*name)
		h = (h ^ (uint8_t)*name++) * 16777619u;
	return h;
}

static int grow(struct survey *s)
{
	uint32_t n = s->n_slots ? 2 * s->n_slots : 4096;
	char **names = calloc(n, sizeof(*names));

	if (!names)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->n_slots; i++) {
		uint32_t at;

		if (!s->names[i])
			continue;
		for (at = hash(s->names[i]); names[at & (n - 1)]; at++)
			;
		names[at & (n - 1)] = s->names[i];
	}
	free(s->names);
	s->names = names;
	s->n_slots = n;
	return 0;
}

/* Takes name over. 1: seen before (freed). */
static int remember(struct survey *s, char *name)
{
	uint32_t at;

	if (2 * (s->n_names + 1) > s->n_slots && grow(s)) {
		free(name);
		return -ENOMEM;
	}
	for (at = hash(name); s->names[at & (s->n_slots - 1)]; at++) {
		if (!strcmp(s->names[at & (s->n_slots - 1)], name)) {
			free(name);
			return 1;
		}
	}
	s->names[at & (s->n_slots - 1)] = name;
	s->n_names++;
	return 0;
}

/* ---- the list ---- */

static int add_row(struct survey *s, const char *family, bool recognised, const char *text)
{
	struct row *rows;

	for (uint32_t i = 0; i < s->n_rows; i++) {
		struct row *row = &s->rows[i];

		if (row->family == family && row->recognised == recognised &&
			(!recognised || !strncmp(row->text, text, VARIANTS_SHOWN - 1))) {
			row->kernels++;
			return 0;
		}
	}
	rows = realloc(s->rows, (s->n_rows + 1) * sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	s->rows = rows;
	rows[s->n_rows] = (struct row){.family = family, .recognised = recognised, .kernels = 1};
	snprintf(rows[s->n_rows++].text, VARIANTS_SHOWN, "%s", text);
	return 0;
}

static int add_recognised(struct survey *s, const struct kv_rule *rule)
{
	char text[VARIANTS_SHOWN] = "";
	const char *variant;

	for (uint32_t i = 0; (variant = kv_rule_variant(rule, i)); i++) {
		size_t used = strlen(text);

		snprintf(text + used, sizeof(text) - used, "%s%s", i ? ", " : "", variant);
	}
	if (kv_rule_keeps(rule)) {
		size_t used = strlen(text);

		snprintf(text + used, sizeof(text) - used,
			" (leaves addresses in memory: what they point at becomes static)");
	}
	return add_row(s, kv_rule_family(rule), true, text);
}

static int add_unknown(struct survey *s, const char *family, const char *name)
{
	struct kv_signature signature;
	int err;

	if (kv_signature_parse(name, &signature))
		return add_row(s, family, false, name);
	err = add_row(s, family, false, signature.demangled);
	kv_signature_free(&signature);
	return err;
}

/* The rule with the parameter sizes that the image gives, as it would be bound at run time. */
static int match(
	struct survey *s, const char *name, struct kv_rule **ret_rule, const char **ret_family)
{
	uint32_t sizes[KV_RULE_PARAMS];
	struct kv_layout *layout;
	int err = kv_rule_match(s->set, name, 0, NULL, ret_rule, ret_family);

	if (err)
		return err;
	err = s->is_ptx ? kv_ptx_layout(s->image, s->image_size, name, &layout)
			: kv_cubin_layout(s->image, s->image_size, name, &layout);
	if (err)
		return err == -ENOMEM ? (kv_rule_free(*ret_rule), err) : 0;
	kv_rule_free(*ret_rule);
	err = layout->n_params > KV_RULE_PARAMS ? -ENOTSUP : 0;
	for (uint32_t i = 0; !err && i < layout->n_params; i++)
		sizes[i] = layout->params[i].size;
	if (!err)
		err = kv_rule_match(s->set, name, layout->n_params, sizes, ret_rule, ret_family);
	free(layout);
	return err;
}

static int on_kernel(void *ctx, const char *kernel, size_t length)
{
	char *name = strndup(kernel, length);
	struct survey *s = ctx;
	const char *family;
	struct kv_rule *rule;
	int err;

	if (!name)
		return -ENOMEM;
	err = remember(s, name);
	if (err)
		return err < 0 ? err : 0;
	err = match(s, name, &rule, &family);
	if (err == -ENOENT)
		return 0;
	if (err == -ENOTSUP)
		return add_unknown(s, family, name);
	if (err)
		return err;
	err = add_recognised(s, rule);
	kv_rule_free(rule);
	return err;
}

static int on_image(void *ctx, const void *data, size_t size)
{
	struct survey *s = ctx;
	int err;

	s->n_images++;
	s->image = data;
	s->image_size = size;
	s->is_ptx = size < SELFMAG || memcmp(data, ELFMAG, SELFMAG) != 0;
	err = s->is_ptx ? kv_ptx_each(data, size, on_kernel, s)
			: kv_cubin_each(data, size, on_kernel, s);
	return err == -ENOMEM ? err : 0;
}

/* Containers one behind the other, aligned to eight bytes. */
static int on_section(struct survey *s, const uint8_t *data, size_t size)
{
	size_t at = 0, length;
	int err;

	while (size - at >= 16) {
		uint32_t magic;

		memcpy(&magic, data + at, sizeof(magic));
		if (magic != KV_FATBIN_MAGIC || kv_image_size(data + at, size - at, &length)) {
			at += 8;
			continue;
		}
		err = kv_image_each(data + at, length, on_image, s);
		if (err == -ENOMEM)
			return err;
		at += (length + 7) & ~(size_t)7;
		if (at > size)
			break;
	}
	return 0;
}

/* Sections that nvcc puts fatbins into. */
static int on_library(struct survey *s, const struct file *file)
{
	Elf_Scn *section = NULL;
	size_t names;
	Elf *elf;
	int err = 0;

	if (elf_version(EV_CURRENT) == EV_NONE)
		return -EBADMSG;
	/* libelf takes a char *, but writes to memory only for files opened for writing. */
	elf = elf_memory((char *)(uintptr_t)file->data, file->size);
	if (!elf || elf_kind(elf) != ELF_K_ELF || elf_getshdrstrndx(elf, &names))
		err = -EBADMSG;
	while (!err && (section = elf_nextscn(elf, section))) {
		GElf_Shdr header;
		const char *name;

		if (!gelf_getshdr(section, &header) || header.sh_type == SHT_NOBITS)
			continue;
		name = elf_strptr(elf, names, header.sh_name);
		if (!name || !strstr(name, "nv_fatbin") || header.sh_offset > file->size ||
			header.sh_size > file->size - header.sh_offset)
			continue;
		err = on_section(s, file->data + header.sh_offset, header.sh_size);
	}
	if (elf)
		elf_end(elf);
	return err;
}

static int by_family(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int order = strcmp(x->family, y->family);

	return order ? order : strcmp(x->text, y->text);
}

static void print_survey(struct survey *s)
{
	uint32_t known = 0, unknown = 0;

	if (s->n_rows)
		qsort(s->rows, s->n_rows, sizeof(*s->rows), by_family);
	printf("%-28s %8s  %s\n", "FAMILY", "KERNELS", "RULE VARIANTS");
	for (uint32_t i = 0; i < s->n_rows; i++) {
		const struct row *row = &s->rows[i];

		if (!row->recognised) {
			unknown += row->kernels;
			continue;
		}
		known += row->kernels;
		printf("%-28s %8u  %s\n", row->family, row->kernels, row->text);
	}
	if (unknown)
		printf("\nOf families that may touch a KV cache, but not recognised (what they "
		       "point at "
		       "becomes static):\n");
	for (uint32_t i = 0; i < s->n_rows; i++)
		if (!s->rows[i].recognised)
			printf("%-28s %8u  %s\n", s->rows[i].family, s->rows[i].kernels,
				s->rows[i].text);
	printf("\n%u kernels in %u images: %u recognised, %u of the same families not, %u of no "
	       "interest\n",
		s->n_names, s->n_images, known, unknown, s->n_names - known - unknown);
}

static int examine(const struct kv_ruleset *set, const char *path, const struct file *file)
{
	struct survey s = {.set = set};
	Elf64_Ehdr header;
	int err;

	memset(&header, 0, sizeof(header));
	memcpy(&header, file->data, file->size < sizeof(header) ? file->size : sizeof(header));
	if (memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 && header.e_type == ET_DYN)
		err = on_library(&s, file);
	else
		err = kv_image_each(file->data, file->size, on_image, &s);
	if (!err && !s.n_names)
		err = -ENOENT;
	if (!err)
		print_survey(&s);
	else if (err == -ENOENT)
		fprintf(stderr, "kvshim doctor: %s: no kernels found\n", path);
	else
		fprintf(stderr, "kvshim doctor: %s: %s\n", path, strerror(-err));
	for (uint32_t i = 0; i < s.n_slots; i++)
		free(s.names[i]);
	free(s.names);
	free(s.rows);
	return err ? 1 : 0;
}

/* ---- rule files ---- */

static int parse(const char *path, const void *text, size_t size, struct kv_ruleset **ret_set)
{
	struct kv_rules_error error;
	int err = kv_ruleset_parse(text, size, ret_set, &error);

	if (err == -EINVAL)
		fprintf(stderr, "kvshim doctor: %s:%u: %s\n", path, error.line, error.reason);
	else if (err)
		fprintf(stderr, "kvshim doctor: %s: %s\n", path, strerror(-err));
	return err;
}

static void print_rules(const struct kv_ruleset *set)
{
	uint32_t n = kv_ruleset_families(set), variants;

	printf("%-28s %8s\n", "FAMILY", "VARIANTS");
	for (uint32_t i = 0; i < n; i++) {
		const char *name = kv_ruleset_family(set, i, &variants);

		printf("%-28s %8u\n", name, variants);
	}
}

static bool looks_like_rules(const struct file *file)
{
	size_t n = file->size < 4096 ? file->size : 4096;

	return memcmp(file->data, ELFMAG, n < SELFMAG ? n : SELFMAG) != 0 &&
	       !memchr(file->data, '\0', n) && !memmem(file->data, n, ".version", 8);
}

int kv_doctor_rules(const char *path, const char *with)
{
	struct kv_ruleset *set = NULL;
	struct file file, rules;
	int err = map_file(path, &file);

	if (err) {
		fprintf(stderr, "kvshim doctor: %s: %s\n", path, strerror(-err));
		return 1;
	}
	if (looks_like_rules(&file)) {
		err = parse(path, file.data, file.size, &set);
		if (!err)
			print_rules(set);
	} else if (with) {
		err = map_file(with, &rules);
		if (err)
			fprintf(stderr, "kvshim doctor: %s: %s\n", with, strerror(-err));
		else
			err = parse(with, rules.data, rules.size, &set);
		if (!err)
			err = examine(set, path, &file);
	} else {
		err = parse("llama.rules", kv_profile_llama, kv_profile_llama_size, &set);
		if (!err)
			err = examine(set, path, &file);
	}
	kv_ruleset_free(set);
	return err ? 1 : 0;
}
