# shellcheck shell=bash
# Sourced by run_learning.sh and the Makefile: finds or makes the Python environment. Sets PYTHON and ENVIRONMENT.
#
# An active venv or conda environment is used; otherwise .venv beside run_learning.sh. A stamp in the environment holds a
# checksum of what was installed from, so a later start costs one `cksum` and no Python process.

project=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

find_python() {
    if [ -n "${VIRTUAL_ENV:-}" ] && [ -x "$VIRTUAL_ENV/bin/python" ]; then
        ENVIRONMENT=$VIRTUAL_ENV
    elif [ -n "${CONDA_PREFIX:-}" ] && [ -x "$CONDA_PREFIX/bin/python" ]; then
        ENVIRONMENT=$CONDA_PREFIX
    else
        ENVIRONMENT=$project/.venv
    fi
    if [ -x "$ENVIRONMENT/bin/python" ]; then
        PYTHON=$ENVIRONMENT/bin/python
        return 0
    fi
    for PYTHON in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
        PYTHON=$(command -v "$PYTHON") || continue
        if "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
            return 0
        fi
    done
    echo "Red Heart needs Python 3.10 or later; none was found on PATH" >&2
    return 1
}

_stamp() { echo "$ENVIRONMENT/.redheart-installed-$1"; }

_wanted() { cat "$project/pyproject.toml" "$project/constraints.txt" <(echo "$project") | cksum; }

# is_installed [EXTRA]: whether this environment was made from the present pyproject.toml and constraints.txt.
is_installed() {
    [ -x "$ENVIRONMENT/bin/python" ] && [ "$(cat "$(_stamp "${1:-offline}")" 2>/dev/null)" = "$(_wanted)" ]
}

# ensure_installed EXTRAS: makes the environment and installs the project with these extras, unless that was done before.
ensure_installed() {
    is_installed "$1" && return 0
    # An environment of ours whose making was interrupted has a python but no pip: it is made again.
    if [ "$ENVIRONMENT" = "$project/.venv" ] && [ -x "$ENVIRONMENT/bin/python" ] &&
        ! "$ENVIRONMENT/bin/python" -m pip --version >/dev/null 2>&1; then
        echo "$ENVIRONMENT is incomplete (its making was interrupted): making it again" >&2
        rm -rf "$ENVIRONMENT"
        find_python || return 1
    fi
    if [ ! -x "$ENVIRONMENT/bin/python" ]; then
        echo "Making $ENVIRONMENT with $PYTHON (first use only)" >&2
        if ! "$PYTHON" -m venv "$ENVIRONMENT"; then
            rm -rf "$ENVIRONMENT"
            echo "Could not make a virtual environment. On Debian or Ubuntu: apt install python3-venv" >&2
            return 1
        fi
    fi
    echo "Installing Red Heart into $ENVIRONMENT (a few minutes, first use only; log: $ENVIRONMENT/install.log)" >&2
    if ! (
        flock 9 2>/dev/null || true # a second start waits for the first; where there is no flock, pip copes by itself
        "$ENVIRONMENT/bin/python" -m pip install --disable-pip-version-check \
            -c "$project/constraints.txt" -e "${project}[$1]" >"$ENVIRONMENT/install.log" 2>&1
    ) 9>"$ENVIRONMENT/.install-lock"; then
        tail -n 15 "$ENVIRONMENT/install.log" >&2
        echo "Installing failed; the whole log is $ENVIRONMENT/install.log. Mend the cause and start again" >&2
        return 1
    fi
    _wanted >"$(_stamp "$1")"
}
