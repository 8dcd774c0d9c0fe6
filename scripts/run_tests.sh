#!/usr/bin/env bash
# Run all checks: style, types, layers, tests. Arguments go to pytest: bash scripts/run_tests.sh -k startup
# HYPOTHESIS_PROFILE=search runs the property tests alone, with new seeds and many more examples.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"

activate_environment
install_plugin '.[test]'
# --no-deps: realesrgan's dependencies are large and only needed to restore faces. The tests only use its upscaler.
python -m pip install --disable-pip-version-check -qq --no-deps realesrgan || say "no realesrgan: its tests are skipped"
link_basicsr

say "Style, types and layers"
ruff check .
mypy
lint-imports

if [ $# -eq 0 ]; then
    say "Tests on the simulated GPU, see tests/fakegpu.py"
    LIIF_TEST_DEVICE=fakegpu python -m pytest -q -n auto --dist loadfile tests/losses tests/evaluation/test_validation.py \
        tests/archs/test_{decoders,fixed_scale,liif,thera}.py tests/rendering/test_{feature_mlps,renderer,warps}.py \
        tests/models/test_{bad_numbers,channels_training,distillation,gpu_steps,liif_model,loading,patches}.py \
        -k 'not in_one_process and not tiles and not tiling'
fi

say "Tests"
# One process per core. The tests of a file share fixtures and stay together.
exec python -m pytest -q -n auto --dist loadfile "$@"
