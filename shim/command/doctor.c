/* SPDX-License-Identifier: Apache-2.0 */
/* doctor.c - `kvshim doctor`. */
#include "shim/command/command.h"

int kv_command_doctor(const struct kv_call *call)
{
	const char *rules = kv_call_value(call, "rules"), *with = kv_call_value(call, "with");

	if (!rules)
		return kv_command_fail(call, KV_EXIT_ARGUMENTS,
			"--rules and one file; try `kvshim doctor --help`");
#ifdef KVSHIM_HAVE_DOCTOR
	return kv_doctor_rules(rules, with);
#else
	return kv_command_fail(call, KV_EXIT_FAILED, "%s%s: built without readers of kernels",
		rules, with ? " and --with" : "");
#endif
}
