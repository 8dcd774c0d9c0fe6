# Sourced by quickstart.sh and run_tests.sh, which share it: from a clone to an environment with the plugin in it.
# An active virtual environment is used as it is; otherwise .venv is made here, with PYTHON (default: python3).

cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() {
    printf '\n== %s\n' "$*"
}

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Makes `python` the environment's.
activate_environment() {
    if [ -z "${VIRTUAL_ENV:-}" ]; then
        [ -x .venv/bin/python ] || make_environment
        . .venv/bin/activate
        check_that_it_is_the_one_asked_for
    fi
    check_version python
    say "Environment: $VIRTUAL_ENV ($(python --version))"
}

make_environment() {
    local python=${PYTHON:-python3}
    check_version "$python"
    "$python" -m venv .venv || {
        rm -rf .venv
        fail "$python cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv"
    }
}

# A Python that is too new is reported by install-basicsr, which asks pip.
check_version() {
    local version
    version=$("$1" -c 'import platform; print(platform.python_version())' 2>/dev/null) ||
        fail "there is no Python called $1; name one of 3.10 or newer, such as PYTHON=python3.13 bash $0"
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "$1 is Python $version, which is too old; name one of 3.10 or newer, such as PYTHON=python3.13 bash $0"
}

check_that_it_is_the_one_asked_for() {
    local version='import sys; print(*sys.version_info[:2], sep=".")' has asked
    [ -n "${PYTHON:-}" ] || return 0
    has=$(python -c "$version") asked=$("$PYTHON" -c "$version" 2>/dev/null) || return 0
    [ "$has" = "$asked" ] || fail ".venv holds Python $has, PYTHON names $asked; remove .venv to have it made again"
}

# install_plugin WHAT: WHAT is `.` or `.[extra]`.
install_plugin() {
    say "Installing $1 (minutes at first: torch is large)"
    PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_QUIET=${CI:+2} python -m liif_basicsr install-basicsr --editable "$1"
    python -m compileall -q liif_basicsr  # as pip does for a wheel: the hook then starts in a third of a millisecond
}

# `python basicsr/train.py` is how BasicSR is run: a link, ignored by git, to the installed BasicSR serves.
link_basicsr() {
    local installed
    # -I: else the link itself would be found
    installed=$(python -I -c 'import importlib.util as u; print(u.find_spec("basicsr").submodule_search_locations[0])')
    if [ -L basicsr ] || [ ! -e basicsr ]; then
        ln -sfn "$installed" basicsr
    else
        say "basicsr/ is a folder of yours and stays; $installed is the BasicSR that was installed"
    fi
}
