/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree.c - a tree of processes as a router or Ollama has it: a parent that uses no GPU and passes
 * on its environment, servers that stay, and a probe that asks for memory and ends.
 *
 * All of them are this program. usage: tree KVSHIM (the command that lists who is there)
 */
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/memory/check.h"

#define CACHE (4 * BIG)
#define DEADLINE_S 60

/* What a child says of the device. */
struct told {
	size_t free_bytes, total;
	bool shim; /* the library is loaded */
};

struct child {
	pid_t pid;
	int to, from;
	struct told first, before, after; /* nothing, little, its cache was reserved */
};

static const char *self, *kvshim;

/* ---- children ---- */

static struct told look(void)
{
	struct told told = {0};
	char line[4096];
	FILE *maps = fopen("/proc/self/maps", "r");

	OK(cuMemGetInfo(&told.free_bytes, &told.total));
	while (maps && fgets(line, sizeof(line), maps))
		told.shim |= strstr(line, "/libkvshim.so") != NULL;
	if (maps)
		fclose(maps);
	return told;
}

static void tell(struct told told)
{
	CHECK(write(STDOUT_FILENO, &told, sizeof(told)) == sizeof(told));
}

static bool wait_for_word(char *ret_word)
{
	return read(STDIN_FILENO, ret_word, 1) == 1;
}

static void finish(void)
{
	CUdevice device;

	OK(cuDeviceGet(&device, 0));
	OK(cuDevicePrimaryCtxRelease(device));
}

/* What it prints goes to stderr: stdout is for the parent. */
static int probe(void)
{
	start();
	tell(look());
	finish();
	return failures != 0;
}

static int server(void)
{
	CUdeviceptr cache;
	char word;

	start();
	tell(look());
	/* What the shim needs for itself it has from here on. */
	OK(cuMemFree(reserve(CACHE)));
	tell(look());
	cache = reserve(CACHE);
	tell(look());
	while (wait_for_word(&word) && word == 'w') {
		OK(cuMemsetD8(cache, 7, CACHE / 2));
		OK(cuCtxSynchronize());
		tell(look());
	}
	OK(cuMemFree(cache));
	finish();
	return failures != 0;
}

/* ---- the parent ---- */

static struct child begin(const char *role, char **environment)
{
	char *argv[] = {(char *)self, (char *)kvshim, (char *)role, NULL};
	posix_spawn_file_actions_t actions;
	struct child child = {0};
	int to[2], from[2];

	if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
		exit(1);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, to[0], STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, from[1], STDOUT_FILENO);
	if (posix_spawn(&child.pid, self, &actions, NULL, argv, environment))
		exit(1);
	posix_spawn_file_actions_destroy(&actions);
	close(to[0]);
	close(from[1]);
	child.to = to[1];
	child.from = from[0];
	return child;
}

static struct told hear(const struct child *child)
{
	struct told told = {0};

	CHECK(read(child->from, &told, sizeof(told)) == sizeof(told));
	return told;
}

static void end(struct child *child, int signal)
{
	int status = 0;

	if (signal)
		kill(child->pid, signal);
	close(child->to);
	CHECK(waitpid(child->pid, &status, 0) == child->pid);
	CHECK(signal ? WIFSIGNALED(status) : status == 0);
	close(child->from);
}

static struct told ask_probe(char **environment)
{
	struct child child = begin("probe", environment);
	struct told told = hear(&child);

	end(&child, 0);
	return told;
}

static struct child begin_server(void)
{
	struct child child = begin("server", environ);

	child.first = hear(&child);
	child.before = hear(&child);
	child.after = hear(&child);
	return child;
}

/* True if the command names the process among those that run under the shim. One that has died is
 * named as dead until somebody needs its row. */
static bool is_listed(pid_t pid)
{
	char command[4096], line[512];
	bool found = false;
	FILE *list;

	snprintf(command, sizeof(command), "LD_PRELOAD= %s ps", kvshim);
	list = popen(command, "r");
	while (list && fgets(line, sizeof(line), list))
		found |= strtol(line, NULL, 10) == pid && !strstr(line, " dead ");
	CHECK(list && pclose(list) == 0);
	return found;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void the_environment_reaches_who_is_started(void)
{
	struct told told = ask_probe(environ);

	CHECK(told.shim);
	CHECK(told.total > 0 && told.free_bytes <= told.total);
	CHECK(!is_listed(getpid())); /* who uses no GPU is not there */
}

static void a_probe_is_told_what_an_engine_is_told(void)
{
	struct told alone = ask_probe(environ), beside;
	struct child a = begin_server(), b;

	CHECK(a.first.free_bytes == alone.free_bytes);
	CHECK(a.after.free_bytes == a.before.free_bytes - CACHE); /* of its own it is taken off */
	/* Reserved and not used: that is there for others. */
	beside = ask_probe(environ);
	b = begin_server();
	CHECK(b.first.free_bytes == beside.free_bytes);
	CHECK(b.first.total == beside.total);
	CHECK(is_listed(a.pid) && is_listed(b.pid)); /* one segment */
	end(&b, 0);
	end(&a, 0);
}

static void what_an_idle_server_uses_is_offered_to_a_probe(void)
{
	static char raw_option[] = "KVSHIM_RAW_MEMINFO=on";
	struct told raw, told;
	char *environment[1024];
	struct child a = begin_server();
	double deadline = seconds() + DEADLINE_S;
	int n = 0;

	environment[n++] = raw_option;
	for (char **each = environ; *each && n < 1023; each++)
		environment[n++] = *each;
	environment[n] = NULL;
	CHECK(write(a.to, "w", 1) == 1);
	hear(&a);
	raw = ask_probe(environment);
	do { /* it is idle after some seconds */
		told = ask_probe(environ);
	} while (told.free_bytes < raw.free_bytes + CACHE / 2 && seconds() < deadline &&
		 usleep(200000) == 0);
	CHECK(told.free_bytes == raw.free_bytes + CACHE / 2);
	CHECK(told.total == raw.total);
	end(&a, 0);
}

static void a_server_that_is_killed_leaves_nothing(void)
{
	struct told before = ask_probe(environ), after;
	struct child a = begin_server(), b = begin_server();
	double deadline = seconds() + DEADLINE_S;

	CHECK(write(a.to, "w", 1) == 1);
	hear(&a);
	end(&a, SIGKILL);
	CHECK(!is_listed(a.pid) && is_listed(b.pid));
	end(&b, 0);
	do {
		after = ask_probe(environ);
	} while (after.free_bytes != before.free_bytes && seconds() < deadline &&
		 usleep(100000) == 0);
	CHECK(after.free_bytes == before.free_bytes);
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	self = argv[0];
	kvshim = argv[1];
	if (argc > 2)
		return strcmp(argv[2], "probe") == 0 ? probe() : server();
	says("the environment reaches who is started", the_environment_reaches_who_is_started);
	says("a probe is told what an engine is told", a_probe_is_told_what_an_engine_is_told);
	says("what an idle server uses is offered to a probe",
		what_an_idle_server_uses_is_offered_to_a_probe);
	says("a server that is killed leaves nothing", a_server_that_is_killed_leaves_nothing);
	return failures != 0;
}
