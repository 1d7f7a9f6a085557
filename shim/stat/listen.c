/* SPDX-License-Identifier: Apache-2.0 */
/* listen.c - see listen.h. The only part that knows libmicrohttpd. */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <microhttpd.h>

#include "stat/listen.h"
#include "stat/view.h"

#define CONNECTIONS 16
#define TIMEOUT_S 10

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* "1.2.3.4:80" or "[::1]:80"; numbers only: a name may mean anything. */
static int read_address(const char *text, union address *ret_address)
{
	const char *colon = strrchr(text, ':');
	char host[64], *end;
	unsigned long port;
	size_t length;

	memset(ret_address, 0, sizeof(*ret_address));
	if (!colon || colon == text || !colon[1])
		return -EINVAL;
	port = strtoul(colon + 1, &end, 10);
	length = (size_t)(colon - text);
	if (*end || port > 65535 || colon[1] == '-' || length >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, length);
	host[length] = '\0';
	if (inet_pton(AF_INET, host, &ret_address->v4.sin_addr) == 1) {
		ret_address->v4.sin_family = AF_INET;
		ret_address->v4.sin_port = htons((uint16_t)port);
		return 0;
	}
	if (host[0] != '[' || host[length - 1] != ']')
		return -EINVAL;
	host[length - 1] = '\0';
	if (inet_pton(AF_INET6, host + 1, &ret_address->v6.sin6_addr) != 1)
		return -EINVAL;
	ret_address->v6.sin6_family = AF_INET6;
	ret_address->v6.sin6_port = htons((uint16_t)port);
	return 0;
}

static bool is_loopback(const union address *address)
{
	if (address->any.sa_family == AF_INET)
		return ntohl(address->v4.sin_addr.s_addr) >> 24 == 127;
	return IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
}

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned int status, char *body,
	size_t length, enum MHD_ResponseMemoryMode mode, const char *type)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(length, body, mode);
	enum MHD_Result result;

	if (!response) {
		if (mode == MHD_RESPMEM_MUST_FREE)
			free(body);
		return MHD_NO;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result answer_line(
	struct MHD_Connection *connection, unsigned int status, const char *line)
{
	return answer(connection, status, (char *)line, strlen(line), MHD_RESPMEM_PERSISTENT,
		"text/plain; charset=utf-8");
}

static enum MHD_Result answer_metrics(struct MHD_Connection *connection, const char *directory)
{
	struct kv_stat_clock clock = kv_stat_clock_now();
	struct kv_stat stat;
	char *body = NULL;
	size_t length = 0;
	FILE *out;

	if (kv_stat_read(directory, &clock, &stat) != 0)
		return answer_line(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory\n");
	out = open_memstream(&body, &length);
	if (out) {
		kv_view_prometheus(&stat, out);
		if (fclose(out) != 0) {
			free(body);
			body = NULL;
		}
	}
	kv_stat_free(&stat);
	if (!body)
		return answer_line(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory\n");
	return answer(connection, MHD_HTTP_OK, body, length, MHD_RESPMEM_MUST_FREE,
		"text/plain; version=0.0.4; charset=utf-8");
}

static enum MHD_Result handle(void *directory, struct MHD_Connection *connection, const char *url,
	const char *method, const char *version, const char *data, size_t *data_size,
	void **connection_state)
{
	static int seen;

	(void)version;
	(void)data;
	/* the first call has only the head; an answer to a method that is refused needs no body */
	if (!*connection_state) {
		*connection_state = &seen;
		return MHD_YES;
	}
	*data_size = 0;
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return answer_line(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
	if (strcmp(url, "/metrics") == 0)
		return answer_metrics(connection, directory);
	if (strcmp(url, "/") == 0)
		return answer_line(connection, MHD_HTTP_OK, "kvshim-stat: see /metrics\n");
	return answer_line(connection, MHD_HTTP_NOT_FOUND, "only /metrics is here\n");
}

static void say_where(struct MHD_Daemon *daemon, const union address *address)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT);
	char host[INET6_ADDRSTRLEN] = "";
	bool v6 = address->any.sa_family == AF_INET6;

	inet_ntop(address->any.sa_family,
		v6 ? (const void *)&address->v6.sin6_addr : &address->v4.sin_addr, host,
		sizeof(host));
	printf("kvshim-stat: serving http://%s%s%s:%u/metrics\n", v6 ? "[" : "", host,
		v6 ? "]" : "", info ? info->port : 0u);
	fflush(stdout);
}

int kv_listen_run(const char *text, bool anywhere, const char *directory)
{
	struct MHD_Daemon *daemon;
	union address address;
	sigset_t ends;
	int signal;

	if (read_address(text, &address) != 0) {
		fprintf(stderr,
			"kvshim-stat: %s is no ADDRESS:PORT, such as 127.0.0.1:9400 or "
			"[::1]:9400\n",
			text);
		return 2;
	}
	if (!anywhere && !is_loopback(&address)) {
		fprintf(stderr,
			"kvshim-stat: %s can be reached from other machines, and there is no "
			"access control; add --listen-anywhere if that is wanted\n",
			text);
		return 2;
	}
	/* blocked before the server's thread starts, which inherits it */
	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	errno = 0;
	daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD |
					  (address.any.sa_family == AF_INET6 ? MHD_USE_IPv6 : 0),
		0, NULL, NULL, handle, (void *)directory, MHD_OPTION_SOCK_ADDR, &address.any,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned int)CONNECTIONS,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int)TIMEOUT_S, MHD_OPTION_END);
	if (!daemon) {
		fprintf(stderr, "kvshim-stat: cannot listen on %s: %s\n", text,
			errno ? strerror(errno) : "the server did not start");
		return 1;
	}
	say_where(daemon, &address);
	sigwait(&ends, &signal);
	MHD_stop_daemon(daemon);
	return 0;
}
