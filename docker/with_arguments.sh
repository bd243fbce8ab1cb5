#!/bin/sh
# Runs a command with further words out of an environment variable:
#
#     SERVER_ARGS='--default_prompt "Insert the peg"' with_arguments.sh SERVER_ARGS taketwo serve
#
# The variable is taken apart as a shell does it, so that quoted words stay together, but nothing in it is expanded or run.
# The command replaces this script and so gets the signals.
set -eu

exec python3 -c '
import os, shlex, sys

variable, *command = sys.argv[1:]
try:
    command += shlex.split(os.environ.get(variable, ""))
except ValueError as error:
    sys.exit(f"error: {variable} cannot be taken apart: {error}")
try:
    os.execvp(command[0], command)
except OSError as error:
    sys.exit(f"error: {command[0]}: {error.strerror}")
' "$@"
