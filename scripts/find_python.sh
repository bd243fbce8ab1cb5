#!/bin/sh
# Prints the first Python from 3.11 to 3.13 that is on the PATH or in pyenv, or the one of the version given, such
# as 3.12; nothing where there is none.
for python in ${1:+python$1} ${1:-python3 python3.13 python3.12 python3.11 python} \
    "${PYENV_ROOT:-$HOME/.pyenv}/versions/${1:-3.1}"*/bin/python; do
    if "$python" -c "
import sys
version = sys.version_info[:2]
sys.exit(not (3, 11) <= version <= (3, 13) or '$1' not in ('', '%d.%d' % version))" 2>/dev/null; then
        command -v "$python"
        exit 0
    fi
done
