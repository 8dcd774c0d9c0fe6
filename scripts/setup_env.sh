# Functions of quickstart.sh and run_tests.sh that install the plugin from a clone.
# They use the active virtual environment, or create .venv with PYTHON (default: python3).

cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() {
    printf '\n== %s\n' "$*"
}

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Activate the environment.
activate_environment() {
    if [ -z "${VIRTUAL_ENV:-}" ]; then
        [ -x .venv/bin/python ] || make_environment
        . .venv/bin/activate
        check_requested_version
    fi
    check_version python
    say "Environment: $VIRTUAL_ENV ($(python --version))"
}

make_environment() {
    local python=${PYTHON:-python3}
    check_version "$python"
    "$python" -m venv .venv || {
        rm -rf .venv
        fail "$python cannot create a virtual environment; on Debian and Ubuntu: apt install python3-venv"
    }
}

# A Python that is too new is reported later, by install-basicsr: it asks pip whether there is a torch for this Python.
check_version() {
    local version
    version=$("$1" -c 'import platform; print(platform.python_version())' 2>/dev/null) ||
        fail "$1: not found, or not a Python; set PYTHON to Python 3.10 or newer: PYTHON=python3.13 bash $0"
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "$1: Python $version is too old; set PYTHON to Python 3.10 or newer: PYTHON=python3.13 bash $0"
}

check_requested_version() {
    local version='import sys; print(*sys.version_info[:2], sep=".")' has asked
    [ -n "${PYTHON:-}" ] || return 0
    has=$(python -c "$version") asked=$("$PYTHON" -c "$version" 2>/dev/null) || return 0
    [ "$has" = "$asked" ] || fail ".venv has Python $has, but PYTHON is $asked; remove .venv to create it again"
}

# install_plugin REQUIREMENT: `.` or `.[extra]`.
install_plugin() {
    say "Installing $1 (the first time takes minutes, because torch is large)"
    PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_QUIET=${CI:+2} python -m liif_basicsr install-basicsr --editable "$1"
    python -m compileall -q liif_basicsr  # as pip does for a wheel, which speeds up the start-up hook
}

# Link the installed BasicSR, so that `python basicsr/train.py` works. Git ignores the link.
link_basicsr() {
    local installed
    # -I: otherwise, Python would find the link itself
    installed=$(python -I -c 'import importlib.util as u; print(u.find_spec("basicsr").submodule_search_locations[0])')
    if [ -L basicsr ] || [ ! -e basicsr ]; then
        ln -sfn "$installed" basicsr
    else
        say "basicsr/ exists and is kept; the installed BasicSR is $installed"
    fi
}
