/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvshim.hpp - kvshim.h for C++11 and later: objects that end what they began.
 *
 * An object whose call failed is false and has error(). Errors throw kvshim::error, except two that
 * mean that there is no shim (ABSENT and INERT): a program runs the same without it. With
 * KVSHIM_NO_EXCEPTIONS (or -fno-exceptions) nothing throws.
 *
 * ```cpp
 * {
 *	kvshim::tag tag("kv", KVSHIM_MODE_LAZY);
 *	// ... cudaMalloc of the cache ...
 * }
 * if (!kvshim::active())
 *	std::puts("no elastic memory in this process");
 * ```
 */
#ifndef KVSHIM_HPP
#define KVSHIM_HPP

#include <cstdint>
#include <cstring>
#include <exception>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "kvshim.h"

#if !defined(KVSHIM_NO_EXCEPTIONS) && !defined(__cpp_exceptions)
#define KVSHIM_NO_EXCEPTIONS 1
#endif

namespace kvshim
{

class error : public std::exception
{
public:
	explicit error(int code) noexcept : code_(code) {}
	int code() const noexcept { return code_; }
	const char *what() const noexcept override { return kvshim_strerror(code_); }

private:
	int code_;
};

/* The code itself; throws if it is an error that does not mean that there is no shim. */
inline int check(int code)
{
#ifndef KVSHIM_NO_EXCEPTIONS
	if (code < 0 && code != KVSHIM_ERR_ABSENT && code != KVSHIM_ERR_INERT)
		throw error(code);
#endif
	return code;
}

inline bool active() noexcept { return kvshim_active() == 1; }

namespace detail
{
/* What every object has: the outcome of its call. Moved, not copied. */
class outcome
{
public:
	explicit operator bool() const noexcept { return error_ == 0; }
	int error() const noexcept { return error_; }

protected:
	outcome() noexcept = default;
	outcome(outcome &&other) noexcept : error_(other.error_) { other.error_ = KVSHIM_ERR_GONE; }
	outcome &operator=(outcome &&other) noexcept
	{
		std::swap(error_, other.error_);
		return *this;
	}
	outcome(const outcome &) = delete;
	outcome &operator=(const outcome &) = delete;
	int error_ = 0;
};

template <size_t n> void copy_name(char (&to)[n], const char *from)
{
	std::strncpy(to, from ? from : "", n - 1);
	to[n - 1] = '\0';
}
} // namespace detail

/* kvshim_tag_push() and, at the end of the scope, kvshim_tag_pop(): in one thread. */
class tag : public detail::outcome
{
public:
	explicit tag(const char *name, kvshim_mode mode = KVSHIM_MODE_LAZY, int priority = 128)
	{
		error_ = check(kvshim_tag_push(name, mode, priority));
	}
	~tag()
	{
		if (error_ == 0)
			kvshim_tag_pop();
	}
	tag(tag &&) = delete;
};

/* Bytes released or mapped. */
inline uint64_t pause(const char *tag, bool keep = true)
{
	uint64_t bytes = 0;

	check(kvshim_tag_pause(tag, keep, &bytes));
	return bytes;
}
inline uint64_t resume(const char *tag)
{
	uint64_t bytes = 0;

	check(kvshim_tag_resume(tag, &bytes));
	return bytes;
}

/*
 * A region of hints; ends with the object.
 *
 * ```cpp
 * uint64_t base = 0; // from cudaMalloc
 * kvshim::region region("kv", 1000, {{base, 65536, 65536}});
 * if (region) {
 *	region.touch({1, 2, 3});
 *	region.step();
 *	region.release({1, 2, 3});
 * }
 * ```
 */
class region : public detail::outcome
{
public:
	region(const char *name, uint64_t n_blocks, const std::vector<kvshim_range> &ranges,
		uint32_t flags = 0, uint32_t watchdog_ms = 0)
	{
		struct kvshim_region_desc desc = {};

		desc.size = sizeof(desc);
		desc.n_blocks = n_blocks;
		desc.n_ranges = ranges.size();
		desc.ranges = ranges.data();
		desc.flags = flags;
		desc.watchdog_ms = watchdog_ms;
		detail::copy_name(desc.name, name);
		error_ = kvshim_region_declare(&desc, &id_);
		/* What is not ours needs no hints: no reason to throw. */
		if (error_ != KVSHIM_ERR_FOREIGN)
			check(error_);
	}
	region(region &&other) noexcept : outcome(std::move(other)), id_(other.id_) {}
	region &operator=(region &&other) noexcept
	{
		outcome::operator=(std::move(other));
		std::swap(id_, other.id_);
		return *this;
	}
	~region()
	{
		if (error_ == 0)
			kvshim_region_end(id_);
	}
	uint64_t id() const noexcept { return id_; }
	/* Without a region these do nothing: 0. */
	int touch(const int64_t *blocks, size_t n) const
	{
		return error_ ? 0 : check(kvshim_touch(id_, blocks, static_cast<int64_t>(n)));
	}
	int touch(const std::vector<int64_t> &blocks) const
	{
		return touch(blocks.data(), blocks.size());
	}
	int release(const int64_t *blocks, size_t n, int after_steps = 0) const
	{
		return error_ ? 0
			      : check(kvshim_release(
					id_, blocks, static_cast<int64_t>(n), after_steps));
	}
	int release(const std::vector<int64_t> &blocks, int after_steps = 0) const
	{
		return release(blocks.data(), blocks.size(), after_steps);
	}
	int step() const { return error_ ? 0 : check(kvshim_step(id_)); }

private:
	uint64_t id_ = 0;
};

/* A cache of a model; freed with the object. */
class cache : public detail::outcome
{
public:
	cache(uint64_t model, int64_t tokens, kvshim_short when_short = KVSHIM_SHORT_FAIL,
		uint32_t timeout_ms = 0)
	{
		error_ = check(kvshim_cache_alloc(model, tokens, when_short, timeout_ms, &cache_));
	}
	cache(cache &&other) noexcept : outcome(std::move(other)), cache_(other.cache_) {}
	cache &operator=(cache &&other) noexcept
	{
		outcome::operator=(std::move(other));
		std::swap(cache_, other.cache_);
		return *this;
	}
	~cache()
	{
		if (error_ == 0)
			kvshim_cache_free(cache_.id);
	}
	int extend(int64_t tokens, kvshim_short when_short = KVSHIM_SHORT_FAIL,
		uint32_t timeout_ms = 0)
	{
		return check(
			kvshim_cache_extend(cache_.id, tokens, when_short, timeout_ms, &cache_));
	}
	uint64_t address() const noexcept { return cache_.address; }
	uint64_t tokens() const noexcept { return cache_.tokens; }
	uint64_t room() const noexcept { return cache_.room; }
	bool is_short() const noexcept { return cache_.is_short; }

private:
	struct kvshim_cache cache_ = {sizeof(struct kvshim_cache), 0, 0, 0, 0, 0};
};

/*
 * A pool on the device of the current context; must outlive its caches.
 *
 * ```cpp
 * kvshim::pool pool(1ull << 30);
 * if (pool) {
 *	uint64_t llama = pool.model("llama", 131072, 8192);
 *	kvshim::cache cache(llama, 1000, KVSHIM_SHORT_DEGRADE);
 *	cache.extend(1200, KVSHIM_SHORT_WAIT, 50);
 * }
 * ```
 */
class pool : public detail::outcome
{
public:
	explicit pool(uint64_t capacity, bool predict = false, const char *name = "pool")
	{
		struct kvshim_pool_desc desc = {};

		desc.size = sizeof(desc);
		desc.capacity = capacity;
		desc.flags = predict ? KVSHIM_POOL_PREDICT : 0;
		detail::copy_name(desc.name, name);
		error_ = check(kvshim_pool_create(&desc, &id_));
	}
	pool(pool &&other) noexcept : outcome(std::move(other)), id_(other.id_) {}
	pool &operator=(pool &&other) noexcept
	{
		outcome::operator=(std::move(other));
		std::swap(id_, other.id_);
		return *this;
	}
	~pool()
	{
		if (error_ == 0)
			kvshim_pool_destroy(id_);
	}
	/* The id of a new model, which lives as long as the pool; 0 on an error. */
	uint64_t model(const char *name, uint64_t token_bytes, uint64_t max_tokens,
		uint64_t min_bytes = 0, uint64_t max_bytes = 0) const
	{
		struct kvshim_model_desc desc = {};
		uint64_t model = 0;

		desc.size = sizeof(desc);
		desc.token_bytes = token_bytes;
		desc.max_tokens = max_tokens;
		desc.min_bytes = min_bytes;
		desc.max_bytes = max_bytes;
		detail::copy_name(desc.name, name);
		check(kvshim_model_register(id_, &desc, &model));
		return model;
	}
	struct ::kvshim_pool_stats stats() const
	{
		struct ::kvshim_pool_stats stats = {};

		stats.size = sizeof(stats);
		check(kvshim_pool_stats_get(id_, &stats));
		return stats;
	}
	int rebalance() const { return check(kvshim_pool_rebalance(id_)); }
	uint64_t id() const noexcept { return id_; }

private:
	uint64_t id_ = 0;
};

/* All zero without the shim. */
inline struct ::kvshim_stats stats(int device = 0)
{
	struct ::kvshim_stats stats = {};

	stats.size = sizeof(stats);
	check(kvshim_stats_get(device, &stats));
	return stats;
}

} // namespace kvshim

#endif
