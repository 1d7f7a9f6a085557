/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command.h - the subcommands of `kvshim`. Each gets its own argv (argv[0] is its name) and returns
 * the exit status: 0, 1 failed, 2 wrong arguments (one line has been written to stderr).
 */
#ifndef KV_SHIM_COMMAND_H
#define KV_SHIM_COMMAND_H

int kv_command_run(int argc, char **argv); /* returns on failure only: 126, 127 as env(1), or 2 */
int kv_command_explain(int argc, char **argv);
int kv_command_doctor(int argc, char **argv); /* KVSHIM_HAVE_DOCTOR: built with hooks */

#endif
