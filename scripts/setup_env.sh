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
    fi
    say "Environment: $VIRTUAL_ENV"
}

make_environment() {
    local python=${PYTHON:-python3}
    "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' ||
        fail "BasicSR 1.4.2 builds on Python 3.10 to 3.12; name one of these, such as PYTHON=python3.12 bash $0"
    "$python" -m venv .venv || {
        rm -rf .venv
        fail "$python cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv"
    }
}

# install_plugin WHAT: WHAT is `.` or `.[extra]`; BasicSR comes as source and takes a minute or two to build.
install_plugin() {
    say "Installing $1 (minutes at first: torch is large, and BasicSR is built from source)"
    python -m pip install --disable-pip-version-check ${CI:+-qq} --editable "$1"
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
