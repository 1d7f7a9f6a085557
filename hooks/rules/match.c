/* SPDX-License-Identifier: Apache-2.0 */
/* match.c - which rule a kernel is under: name, template arguments, parameter types and sizes. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hooks/rules/rule.h"

/* What the compiler knows without being told. */
static const struct builtin {
	const char *name;
	uint8_t size;
	bool is_signed;
} builtins[] = {{"bool", 1, false}, {"char", 1, true}, {"signed char", 1, true},
	{"unsigned char", 1, false}, {"short", 2, true}, {"unsigned short", 2, false},
	{"int", 4, true}, {"unsigned int", 4, false}, {"long", 8, true},
	{"unsigned long", 8, false}, {"long long", 8, true}, {"unsigned long long", 8, false},
	{"float", 4, false}, {"double", 8, false}};

static const struct builtin *builtin_of(struct kv_text type)
{
	for (size_t i = 0; i < sizeof(builtins) / sizeof(builtins[0]); i++)
		if (kv_text_is(type, builtins[i].name))
			return &builtins[i];
	return NULL;
}

static bool is_pointer(struct kv_text type)
{
	return type.length && type.at[type.length - 1] == '*';
}

/* Bytes of a type by value; 0: not known. *ret_per: elements in it. */
static uint32_t size_of(const struct kv_ruleset *set, struct kv_text type, uint32_t *ret_per)
{
	const struct builtin *builtin = builtin_of(type);
	const struct kv_type *declared = kv_type_find(set, type);

	*ret_per = 1;
	if (is_pointer(type))
		return 8;
	if (declared) {
		*ret_per = declared->per;
		return declared->size;
	}
	return builtin ? builtin->size : 0;
}

/* ---- patterns ---- */

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

/* The template argument called word; KV_SIGNATURE_TEMPLATE: none. */
static uint32_t template_arg(const struct kv_variant *v, struct kv_text word)
{
	for (uint32_t i = 0; i < v->n_template; i++)
		if (v->template_names[i].length && kv_text_equal(word, v->template_names[i]))
			return i;
	return KV_SIGNATURE_TEMPLATE;
}

/* Compares a type with its pattern: "_" is any type, names of template arguments stand for those.
 */
static bool type_fits(const struct kv_variant *v, const struct kv_signature *s,
	struct kv_text pattern, struct kv_text type)
{
	const char *at = pattern.at, *end = at + pattern.length;
	const char *left = type.at, *type_end = left + type.length;

	if (kv_text_is(pattern, "_"))
		return true;
	while (at < end) {
		struct kv_text piece = {at, 1};
		uint32_t arg;

		if (is_word(*at)) {
			while (at + piece.length < end && is_word(at[piece.length]))
				piece.length++;
			at += piece.length;
			arg = template_arg(v, piece);
			if (arg < KV_SIGNATURE_TEMPLATE)
				piece = s->template_args[arg];
		} else {
			at++;
		}
		if ((size_t)(type_end - left) < piece.length ||
			memcmp(left, piece.at, piece.length))
			return false;
		left += piece.length;
	}
	return left == type_end;
}

/* "text", "*text": ends like this, "text*": begins like this. */
static bool glob_fits(struct kv_text glob, struct kv_text arg)
{
	size_t length = glob.length - (glob.length != 0);

	if (!glob.length || arg.length < length)
		return false;
	if (*glob.at == '*')
		return !memcmp(glob.at + 1, arg.at + arg.length - length, length);
	if (glob.at[length] == '*')
		return !memcmp(glob.at, arg.at, length);
	return kv_text_equal(glob, arg);
}

/* One of several, separated by '|'. */
static bool choice_fits(struct kv_text choices, struct kv_text arg)
{
	const char *at = choices.at, *end = at + choices.length;

	while (at <= end) {
		const char *bar = memchr(at, '|', end - at);
		struct kv_text one = {at, (bar ? bar : end) - at};

		while (one.length && one.at[0] == ' ') {
			one.at++;
			one.length--;
		}
		while (one.length && one.at[one.length - 1] == ' ')
			one.length--;
		if (glob_fits(one, arg))
			return true;
		at = bar ? bar + 1 : end + 1;
	}
	return false;
}

/* The integer that a template argument is: 32, -1, 128ul, true, (ggml_type)8. */
static bool integer_of(struct kv_text arg, int64_t *ret_value)
{
	const char *close = arg.length && *arg.at == '(' ? memchr(arg.at, ')', arg.length) : NULL;
	char digits[24], *end;
	long long value;

	if (close) {
		arg.length -= close + 1 - arg.at;
		arg.at = close + 1;
	}
	if (kv_text_is(arg, "true") || kv_text_is(arg, "false")) {
		*ret_value = *arg.at == 't';
		return true;
	}
	if (!arg.length || arg.length >= sizeof(digits))
		return false;
	memcpy(digits, arg.at, arg.length);
	digits[arg.length] = '\0';
	errno = 0;
	value = strtoll(digits, &end, 10);
	if (end == digits || errno || end[strspn(end, "ul")])
		return false;
	*ret_value = value;
	return true;
}

static bool variant_fits(const struct kv_ruleset *set, const struct kv_variant *v,
	const struct kv_signature *s, const uint32_t *sizes)
{
	uint32_t per;

	if (s->n_params != v->n_params || s->n_template < v->n_template ||
		(s->n_template > v->n_template && !v->template_open))
		return false;
	for (uint32_t i = 0; i < v->n_wheres; i++)
		if (!choice_fits(v->wheres[i].choices, s->template_args[v->wheres[i].arg]))
			return false;
	for (uint32_t i = 0; i < v->n_params; i++) {
		uint32_t size = size_of(set, s->params[i], &per);

		if (!type_fits(v, s, v->params[i], s->params[i]))
			return false;
		/* The name says one thing and the driver another: then we know nothing. */
		if (sizes && size && size != sizes[i])
			return false;
	}
	return true;
}

/* ---- binding ---- */

/* Fills in what an operation leaves to the kernel. False: it cannot be. */
static bool bind_op(const struct kv_ruleset *set, const struct kv_signature *s,
	const uint32_t *sizes, struct kv_op *op)
{
	const struct builtin *builtin;
	uint32_t size, per;

	switch (op->code) {
	case KV_OP_SIZE:
	case KV_OP_PER:
		size = size_of(set, s->template_args[op->value], &per);
		op->value = op->code == KV_OP_SIZE ? size : per;
		op->code = KV_OP_CONST;
		return size;
	case KV_OP_VALUE:
		if (!integer_of(s->template_args[op->value], &op->value))
			return false;
		op->code = KV_OP_CONST;
		return true;
	case KV_OP_PARAM:
		if (!op->width) {
			builtin = builtin_of(s->params[op->param]);
			if (is_pointer(s->params[op->param]))
				op->width = 8;
			else if (!builtin || kv_text_is(s->params[op->param], "float") ||
				 kv_text_is(s->params[op->param], "double"))
				return false;
			else
				op->width = builtin->size, op->is_signed = builtin->is_signed;
		}
		size = sizes ? sizes[op->param] : size_of(set, s->params[op->param], &per);
		return !size || op->offset + op->width <= size;
	default:
		return true;
	}
}

static bool bind_variant(const struct kv_ruleset *set, const struct kv_variant *v,
	const struct kv_signature *s, const uint32_t *sizes, struct kv_op *ops)
{
	memcpy(ops, v->ops, v->n_ops * sizeof(*ops));
	for (uint32_t i = 0; i < v->n_ops; i++)
		if (!bind_op(set, s, sizes, &ops[i]))
			return false;
	return true;
}

static int bind_family(const struct kv_ruleset *set, const struct kv_family *family,
	const struct kv_signature *s, const uint32_t *sizes, struct kv_rule **ret_rule)
{
	struct kv_rule *rule;
	size_t n_ops = 0;
	struct kv_op *ops;

	for (uint32_t i = 0; i < family->n_variants; i++)
		n_ops += family->variants[i]->n_ops;
	rule = calloc(1, sizeof(*rule) + n_ops * sizeof(*ops));
	if (!rule)
		return -ENOMEM;
	ops = (struct kv_op *)(rule + 1);
	rule->family = family;
	for (uint32_t i = 0; i < s->n_params; i++) {
		uint32_t per;

		if ((sizes ? sizes[i] : size_of(set, s->params[i], &per)) == 8)
			rule->words |= 1ull << i;
	}
	for (uint32_t i = 0; i < family->n_variants; i++) {
		const struct kv_variant *v = family->variants[i];

		if (!variant_fits(set, v, s, sizes) || !bind_variant(set, v, s, sizes, ops))
			continue;
		rule->bound[rule->n_bound++] = (struct kv_bound){v, ops};
		ops += v->n_ops;
	}
	if (!rule->n_bound) {
		free(rule);
		return -ENOTSUP;
	}
	*ret_rule = rule;
	return 0;
}

static const struct kv_family *family_of(const struct kv_ruleset *set, struct kv_text name)
{
	for (uint32_t i = 0; i < set->n_families; i++)
		if (kv_text_is(name, set->families[i].name))
			return &set->families[i];
	return NULL;
}

int kv_rule_match(const struct kv_ruleset *set, const char *mangled, uint32_t n_params,
	const uint32_t *sizes, struct kv_rule **ret_rule, const char **ret_family)
{
	const struct kv_family *family = NULL;
	struct kv_signature s;
	bool named = false;
	int err;

	if (ret_family)
		*ret_family = NULL;
	for (uint32_t i = 0; i < set->n_families && !named; i++)
		named = kv_mangled_has(mangled, set->families[i].name);
	if (!named)
		return -ENOENT;
	err = kv_signature_parse(mangled, &s);
	if (err == -ENOMEM)
		return err;
	if (err) {
		/* extern "C": a name without types. */
		family = family_of(set, (struct kv_text){mangled, strlen(mangled)});
		if (family && ret_family)
			*ret_family = family->name;
		return family ? -ENOTSUP : -ENOENT;
	}
	family = family_of(set, s.name);
	if (family && ret_family)
		*ret_family = family->name;
	if (!family)
		err = -ENOENT;
	else if (sizes && n_params != s.n_params)
		err = -ENOTSUP;
	else
		err = bind_family(set, family, &s, sizes, ret_rule);
	kv_signature_free(&s);
	return err;
}

uint64_t kv_rule_tails(const struct kv_ruleset *set, const char *mangled, uint32_t n_params)
{
	struct kv_signature s;
	uint64_t tails = 0;
	bool named = false;

	for (uint32_t i = 0; i < set->n_tails && !named; i++)
		named = kv_mangled_has(mangled, set->tails[i]);
	if (!named || kv_signature_parse(mangled, &s) < 0)
		return 0;
	for (uint32_t i = 0; i < s.n_params && i < 64 && s.n_params == n_params; i++) {
		for (uint32_t k = 0; k < set->n_tails; k++) {
			if (kv_text_is(s.params[i], set->tails[k]))
				tails |= 1ull << i;
		}
	}
	kv_signature_free(&s);
	return tails;
}

void kv_rule_free(struct kv_rule *rule)
{
	free(rule);
}

const char *kv_rule_family(const struct kv_rule *rule)
{
	return rule->family->name;
}

const char *kv_rule_variant(const struct kv_rule *rule, uint32_t i)
{
	return i < rule->n_bound ? rule->bound[i].variant->name : NULL;
}

bool kv_rule_keeps(const struct kv_rule *rule)
{
	for (uint32_t i = 0; i < rule->n_bound; i++)
		if (rule->bound[i].variant->keeps)
			return true;
	return false;
}

bool kv_rule_writes(const struct kv_rule *rule)
{
	for (uint32_t i = 0; i < rule->n_bound; i++) {
		const struct kv_variant *v = rule->bound[i].variant;

		for (uint32_t j = 0; j < v->n_accesses; j++)
			if (v->accesses[j].kind != KV_ACCESS_READ)
				return true;
	}
	return false;
}

bool kv_rule_uses_index(const struct kv_rule *rule)
{
	for (uint32_t i = 0; i < rule->n_bound; i++) {
		const struct kv_variant *v = rule->bound[i].variant;

		for (uint32_t j = 0; j < v->n_accesses; j++)
			if (v->accesses[j].index_width)
				return true;
	}
	return false;
}
