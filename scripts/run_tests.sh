#!/usr/bin/env bash
# All checks: style, types, tests. Arguments go to pytest, such as: bash scripts/run_tests.sh -k startup
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"

activate_environment
install_plugin '.[test]'
# Without what it asks for, which is large and for faces: the tests need its enlarger alone.
python -m pip install --disable-pip-version-check -qq --no-deps realesrgan || say "No realesrgan: its tests skip"
link_basicsr

say "Style and types"
ruff check .
mypy

say "Tests"
# A process for each core; the tests of a file stay together, for what they share.
python -m pytest -q -n auto --dist loadfile "$@" && exit
say "What failed, once more, one at a time: tests of killed processes and of the browser can starve on a busy machine"
python -m pytest -q --last-failed --last-failed-no-failures none
