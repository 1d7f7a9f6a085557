/* SPDX-License-Identifier: Apache-2.0 */
/* doctor_reach.c - will a preload reach a command, and what else is preloaded; see finding.h. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "shim/command/engine.h"
#include "shim/command/finding.h"
#include "shim/command/library.h"

#define TOPIC "reach"
#define SCRIPTS_MAX 4 /* an interpreter may be a script */
#define KERNELS_SHOWN 4

/* Programs that start others somewhere else or with another environment. */
static const struct {
	const char *name, *remedy;
} launchers[] = {
	{"docker", "put LD_PRELOAD and KVSHIM_* inside: docker run -e ... -v ... (see "
		   "docs/containers-and-kubernetes.md)"},
	{"podman", "put LD_PRELOAD and KVSHIM_* inside: podman run -e ... -v ..."},
	{"nerdctl", "put LD_PRELOAD and KVSHIM_* inside: nerdctl run -e ... -v ..."},
	{"kubectl", "put LD_PRELOAD and KVSHIM_* into the pod's env"},
	{"systemctl", "put them into the unit: Environment=LD_PRELOAD=..."},
	{"systemd-run", "give them with --setenv=LD_PRELOAD=..."},
	{"ssh", "run kvshim on the other side"},
	{"mpirun", "have ranks inherit them: mpirun -x LD_PRELOAD -x KVSHIM_DIR"},
	{"sudo", "put kvshim behind it: sudo kvshim run -- COMMAND"},
	{"su", "put kvshim behind it: su -c 'kvshim run -- COMMAND'"},
	{"flatpak",
		"give them with --env=LD_PRELOAD=..., and the library's folder with --filesystem"},
	{"snap", "snaps run in a root of their own: use another package of the server"},
};

/* Preloads that hook the same calls. */
static const struct {
	const char *part, *what;
} rivals[] = {
	{"libvgpu", "HAMi hooks the same calls and keeps accounts of its own"},
	{"libnvshare", "nvshare turns allocations into managed memory before kvshim sees them"},
	{"torch_memory_saver", "it maps the KV cache itself: nothing is left for kvshim"},
	{"libcuda_swap", "cuda_swap turns allocations into managed memory"},
	{"cuinterpose", "it hooks the same calls"},
	{"libcuda.so", "a driver of another make, in front of the real one"},
};

struct file {
	const uint8_t *data;
	size_t size;
};

static const char *file_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* As execvp() would find it. False: it does not. */
static bool find_program(const char *name, char ret_path[PATH_MAX])
{
	const char *at = getenv("PATH");
	char candidate[2 * PATH_MAX];

	if (strchr(name, '/'))
		return realpath(name, ret_path) != NULL;
	for (at = at ? at : "/bin:/usr/bin"; *at;) {
		int length = (int)strcspn(at, ":");
		struct stat info;

		snprintf(candidate, sizeof(candidate), "%.*s/%s", length ? length : 1,
			length ? at : ".", name);
		if (access(candidate, X_OK) == 0 && stat(candidate, &info) == 0 &&
			S_ISREG(info.st_mode))
			return realpath(candidate, ret_path) != NULL;
		at += length + (at[length] == ':');
	}
	return false;
}

static bool map_file(const char *path, struct file *ret_file)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	void *at = MAP_FAILED;
	struct stat info;

	if (fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0)
		at = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (fd >= 0)
		close(fd);
	if (at == MAP_FAILED)
		return false;
	*ret_file = (struct file){at, (size_t)info.st_size};
	return true;
}

/* Secure execution: the loader drops a preload that is named by a path. */
static bool look_at_rights(struct kv_findings *findings, const char *path)
{
	struct stat info;
	char value[64];
	const char *why = NULL;

	if (stat(path, &info) != 0)
		return false;
	if ((info.st_mode & S_ISUID) && info.st_uid != getuid())
		why = "setuid";
	else if ((info.st_mode & S_ISGID) && info.st_gid != getgid())
		why = "setgid";
	else if (getuid() != 0 && getxattr(path, "security.capability", value, sizeof(value)) > 0)
		why = "given capabilities (setcap)";
	if (!why)
		return true;
	kv_finding_remedy(kv_finding_add(findings, KV_VERDICT_FAIL, TOPIC,
				  "%.200s is %s: the loader drops LD_PRELOAD", path, why),
		"run a copy without these rights, or have it start the server through kvshim run");
	return false;
}

static const Elf64_Phdr *program_header(const struct file *file, uint32_t index)
{
	const Elf64_Ehdr *header = (const void *)file->data;
	uint64_t at = header->e_phoff + (uint64_t)index * sizeof(Elf64_Phdr);

	if (header->e_phentsize != sizeof(Elf64_Phdr) || header->e_phoff % 8 ||
		header->e_phoff > file->size || at + sizeof(Elf64_Phdr) > file->size)
		return NULL;
	return (const void *)(file->data + at);
}

/* The loader that the program names; NULL: none, it is static. ret_bad: no program for this
 * machine. */
static const char *loader_of(const struct file *file, const char **ret_bad)
{
	const Elf64_Ehdr *header = (const void *)file->data;

	*ret_bad = NULL;
	if (file->size < sizeof(*header) || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
		*ret_bad = "it is no ELF program and no script";
	else if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_machine != EM_X86_64)
		*ret_bad = "it is for another machine or for 32 bits";
	for (uint32_t i = 0; !*ret_bad && i < header->e_phnum; i++) {
		const Elf64_Phdr *part = program_header(file, i);

		if (!part) {
			*ret_bad = "its headers are damaged";
		} else if (part->p_type == PT_INTERP) {
			if (part->p_offset < file->size &&
				part->p_filesz <= file->size - part->p_offset &&
				memchr(file->data + part->p_offset, '\0', part->p_filesz))
				return (const char *)file->data + part->p_offset;
			*ret_bad = "its headers are damaged";
		}
	}
	return NULL;
}

static void look_at_program(struct kv_findings *findings, const char *path, const struct file *file)
{
	const char *bad, *loader = loader_of(file, &bad);

	if (bad)
		kv_finding_remedy(
			kv_finding_add(findings, KV_VERDICT_FAIL, TOPIC, "%.200s: %s", path, bad),
			"give the server's program");
	else if (!loader)
		kv_finding_remedy(
			kv_finding_add(findings, KV_VERDICT_FAIL, TOPIC,
				"%.200s is linked statically: no loader, no preload", path),
			"use a build that is linked dynamically; what it starts itself inherits "
			"the "
			"preload all the same");
	else if (strstr(loader, "musl"))
		kv_finding_remedy(kv_finding_add(findings, KV_VERDICT_FAIL, TOPIC,
					  "%.200s is a program of musl libc", path),
			"libkvshim.so needs glibc: use a glibc build or image (Debian instead of "
			"Alpine)");
	else if (access(loader, X_OK) != 0)
		kv_finding_remedy(
			kv_finding_add(findings, KV_VERDICT_FAIL, TOPIC,
				"%.150s needs the loader %.100s, which is not here", path, loader),
			"install the C library that it was built for");
	else
		kv_finding_add(findings, KV_VERDICT_OK, TOPIC, "%.200s is linked dynamically%s",
			path,
			memmem(file->data, file->size, "libcuda.so.1", 12)
				? " and looks for the driver itself, which is seen"
				: "");
}

/* The interpreter of a script, which env(1) may have to find. False: it names none. */
static bool interpreter_of(const struct file *file, char ret_name[PATH_MAX])
{
	const char *line = (const char *)file->data;
	size_t length = strnlen(line, file->size < 256 ? file->size : 256);
	const char *end = memchr(line, '\n', length);
	char text[256];
	char *word, *at = text;

	if (length < 3 || memcmp(line, "#!", 2) != 0 || !end)
		return false;
	snprintf(text, sizeof(text), "%.*s", (int)(end - line - 2), line + 2);
	while ((word = strsep(&at, " \t")) && !*word)
		;
	if (word && strcmp(file_name(word), "env") == 0)
		while ((word = strsep(&at, " \t")) && (!*word || *word == '-' || strchr(word, '=')))
			;
	if (!word || !*word)
		return false;
	snprintf(ret_name, PATH_MAX, "%s", word);
	return true;
}

/* Where the kernels of llama.cpp and its kin lie: beside the program, or in a folder of libraries.
 */
static void look_for_kernels(struct kv_findings *findings, const char *command)
{
	static const char *const places[] = {"", "../lib*/", "../lib/*/", "../lib/ollama/*/"};
	char program[PATH_MAX], pattern[2 * PATH_MAX];
	glob_t found = {0};
	char *slash;
	int flags = 0;

	if (!find_program(command, program))
		return;
	slash = strrchr(program, '/');
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(pattern, sizeof(pattern), "%.*s%slibggml-cuda*.so*",
			(int)(slash - program + 1), program, places[i]);
		glob(pattern, flags, NULL, &found);
		flags = GLOB_APPEND;
	}
	for (size_t i = 0; i < found.gl_pathc && i < KERNELS_SHOWN; i++)
		kv_finding_add(findings, KV_VERDICT_OK, "engine",
			"its kernels are in %.120s; `kvshim doctor --rules %.120s` tells which are "
			"known, in some ten seconds",
			found.gl_pathv[i], found.gl_pathv[i]);
	globfree(&found);
}

/* Follows scripts to the program that runs them. */
static void follow(struct kv_findings *findings, const char *name)
{
	char path[PATH_MAX], next[PATH_MAX];
	struct file file;

	snprintf(next, sizeof(next), "%s", name);
	for (int i = 0; i < SCRIPTS_MAX; i++) {
		bool again;

		if (!find_program(next, path)) {
			kv_finding_remedy(kv_finding_add(findings, KV_VERDICT_FAIL, TOPIC,
						  "there is no command %.200s", next),
				"give its path");
			return;
		}
		if (!look_at_rights(findings, path))
			return;
		if (!map_file(path, &file)) {
			kv_finding_remedy(kv_finding_add(findings, KV_VERDICT_WARN, TOPIC,
						  "%.200s cannot be read", path),
				"it cannot be told whether a preload reaches it");
			return;
		}
		again = interpreter_of(&file, next);
		if (again)
			kv_finding_add(findings, KV_VERDICT_OK, TOPIC,
				"%.150s is a script for %.100s", path, next);
		else
			look_at_program(findings, path, &file);
		munmap((void *)(uintptr_t)file.data, file.size);
		if (!again)
			return;
	}
}

void kv_doctor_reach(struct kv_findings *findings, char *const *argv)
{
	const struct kv_engine *engine = kv_engine_detect(argv);

	for (size_t i = 0; i < sizeof(launchers) / sizeof(launchers[0]); i++)
		if (strcmp(file_name(argv[0]), launchers[i].name) == 0)
			kv_finding_remedy(
				kv_finding_add(findings, KV_VERDICT_FAIL, TOPIC,
					"%s does not hand the environment on to what it starts",
					launchers[i].name),
				"%s", launchers[i].remedy);
	follow(findings, argv[0]);
	if (engine)
		kv_finding_add(findings, engine->settings[0] ? KV_VERDICT_OK : KV_VERDICT_WARN,
			"engine", "%s: %s", engine->name, engine->sentence);
	else
		kv_finding_remedy(kv_finding_add(findings, KV_VERDICT_WARN, "engine",
					  "%.100s is no engine that is known by its name", argv[0]),
			"it runs as without kvshim; `kvshim doctor --rules LIBRARY` tells which of "
			"its kernels are known, `kvshim run --engine NAME` says what it is");
	if (engine && engine->settings[0])
		look_for_kernels(findings, argv[0]);
	if (engine && !engine->settings[0])
		kv_finding_remedy(
			&findings->list[findings->n - 1], "docs/engines.md tells what to expect");
}

static void look_at_preload(
	struct kv_findings *findings, const char *entry, size_t length, const char *where)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%.*s", (int)length, entry);
	for (size_t i = 0; i < sizeof(rivals) / sizeof(rivals[0]); i++)
		if (strstr(file_name(path), rivals[i].part)) {
			kv_finding_remedy(
				kv_finding_add(findings, KV_VERDICT_WARN, "preload",
					"%s names %.150s: %s", where, path, rivals[i].what),
				"use one of the two");
			return;
		}
	if (strchr(path, '/') && access(path, R_OK) != 0)
		kv_finding_remedy(kv_finding_add(findings, KV_VERDICT_WARN, "preload",
					  "%s names %.150s, which is not there", where, path),
			"take it out: every program says so on stderr");
	else
		kv_finding_add(findings, KV_VERDICT_OK, "preload", "%s names %.200s%s", where, path,
			kv_library_is_shim(path, strlen(path)) ? "; `kvshim run` replaces it"
							       : "; it stays behind the shim");
}

static void look_at_list(struct kv_findings *findings, const char *list, const char *where)
{
	while (*list) {
		size_t length = strcspn(list, ": \t\n");

		if (length)
			look_at_preload(findings, list, length, where);
		list += length + (list[length] != '\0');
	}
}

void kv_doctor_preloads(struct kv_findings *findings)
{
	FILE *file = fopen("/etc/ld.so.preload", "re");
	const char *list = getenv("LD_PRELOAD");
	char line[PATH_MAX];

	while (file && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "#")] = '\0';
		look_at_list(findings, line, "/etc/ld.so.preload");
	}
	if (file)
		fclose(file);
	look_at_list(findings, list ? list : "", "LD_PRELOAD");
	if (getenv("LD_AUDIT"))
		kv_finding_remedy(
			kv_finding_add(findings, KV_VERDICT_WARN, "preload",
				"LD_AUDIT is set: an auditor may rebind what the shim hooks"),
			"unset LD_AUDIT");
}
