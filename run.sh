#!/usr/bin/env bash
# Sets hoptrace up beside this file where that is needed, then runs it.
#   ./run.sh                 the nightly job on the bundled sample fleet, and its summary
#   ./run.sh test [ARGS]     ruff, mypy and pytest (ARGS go to pytest)
#   ./run.sh COMMAND ...     any hoptrace command
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=${HOPTRACE_VENV:-$here/.venv}

say() { printf '%s\n' "$*" >&2; }

# The version of the Python $1 as 3.N, if it is one that hoptrace runs on.
suitable() {
    "$1" -c 'import sys; v = sys.version_info; v[:2] in ((3, 10), (3, 11), (3, 12), (3, 13)) or sys.exit(1); print("3.%d" % v[1])' 2>/dev/null
}

# The newest suitable Python of this machine.
find_python() {
    local candidate version best='' newest=0
    for candidate in ${HOPTRACE_PYTHON:-python3.13 python3.12 python3.11 python3.10 python3 "${HOME:-/root}"/.pyenv/versions/*/bin/python3}; do
        version=$(suitable "$candidate") || continue
        if ((${version#3.} > newest)); then
            newest=${version#3.} best=$candidate
        fi
    done
    if [[ -z $best ]]; then
        say "run.sh: no Python 3.10 to 3.13 here; install one, for example: apt-get install python3 python3-venv"
        exit 2
    fi
    "$best" -c 'import sys; print(sys.executable)'
}

# A virtual environment made by the Python $1; Debian keeps what that takes in a package of its own.
make_venv() {
    local python=$1 version package
    version=$(suitable "$python")
    if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
        package=python$version-venv
        if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
            say "run.sh: installing $package"
            { apt-get install -y "$package" || { apt-get update && apt-get install -y "$package"; }; } >&2
        else
            say "run.sh: Python $version has no venv module here. Run this, then ./run.sh again:"
            say "    sudo apt-get update && sudo apt-get install -y $package"
            exit 2
        fi
    fi
    "$python" -m venv --clear "$venv"
}

# What an installation depends on: what is asked for, which Python, and, as a strict editable installation knows each file
# by name, which files there are.
fingerprint() {
    {
        "$1" -c 'import sys; print(sys.version)'
        cat "$here/setup.py" "$here/pyproject.toml" "$2"
        printf '%s\n' "$here" "$venv"
        cd "$here" && find pipeline transforms schemas -type f ! -name '*.pyc' | LC_ALL=C sort
    } | sha256sum
}

set_up() {
    local python constraints stamp
    if [[ -x $venv/bin/python ]] && suitable "$venv/bin/python" >/dev/null; then
        python=$venv/bin/python
    else
        python=$(find_python)
    fi
    constraints=$here/constraints/py$(suitable "$python" | tr -d .).txt
    stamp=$(fingerprint "$python" "$constraints")
    [[ -f $venv/hoptrace-stamp && $(<"$venv/hoptrace-stamp") == "$stamp" ]] && return
    say "run.sh: setting up in $venv (the first time takes some minutes)"
    [[ $python == "$venv/bin/python" ]] || make_venv "$python"
    rm -f "$venv/hoptrace-stamp"
    if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint "$constraints" \
        --editable "$here[test]" --config-settings editable_mode=strict >"$venv/install.log" 2>&1; then
        tail -n 20 "$venv/install.log" >&2
        say "run.sh: the installation failed (all of it: $venv/install.log); is a package index reachable? Then run it again."
        exit 1
    fi
    fingerprint "$venv/bin/python" "$constraints" >"$venv/hoptrace-stamp"
}

run_tests() {
    cd "$here"
    "$venv/bin/ruff" check .
    "$venv/bin/mypy" --strict -p hoptrace.schemas -p hoptrace.transforms -p hoptrace.pipeline
    "$venv/bin/python" -m pytest -q "$@"
}

set_up
case ${1-} in
'') exec "$venv/bin/hoptrace" sample ;;
test) shift && run_tests "$@" ;;
*) exec "$venv/bin/hoptrace" "$@" ;;
esac
