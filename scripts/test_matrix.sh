#!/usr/bin/env bash
# Run the tests on each Python, with the newest and the lowest supported versions of the dependencies. Each cell gets its
# own environment, which is deleted at its end. All cells take hours. Each cell needs about 6 GB of disk while it runs.
#     bash scripts/test_matrix.sh                                 # Python 3.10 to 3.13, newest and lowest
#     bash scripts/test_matrix.sh 3.10:lowest 3.13 -- -k startup  # these cells; arguments after -- go to pytest
# The table is results/matrix/table.md; the output of each cell is results/matrix/<python>-<column>.log.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"

OUT=results/matrix
PACKAGES="torch torchvision numpy pillow opencv-python"

main() {
    local cells=() python column status=0
    while [ $# -gt 0 ] && [ "$1" != -- ]; do cells+=("$1"); shift; done
    [ $# -eq 0 ] || shift
    [ ${#cells[@]} -gt 0 ] || cells=(3.10 3.11 3.12 3.13)
    mkdir -p "$OUT"
    printf '| Python | versions | %s | tests |\n|---|---|%s---|\n' "${PACKAGES// / | }" "$(printf -- '---|%.0s' $PACKAGES)" \
        >"$OUT/table.md"
    for cell in "${cells[@]}"; do
        for column in newest lowest; do
            python=${cell%%:*}
            [ "$cell" = "$python" ] || [ "$cell" = "$python:$column" ] || continue
            run_cell "$python" "$column" "$@" || status=1
        done
    done
    say "Table"
    cat "$OUT/table.md"
    return "$status"
}

# run_cell PYTHON COLUMN [pytest's arguments ...]
run_cell() {
    local version=$1 column=$2 python log="$OUT/$1-$2.log" folder status=0 row
    shift 2
    python=$(find_python "$version") || fail "Python $version: not found on PATH or under pyenv; install it"
    say "Python $version, $column versions; see $log"
    folder=$(mktemp -d)
    (
        "$python" -m venv "$folder/env"
        . "$folder/env/bin/activate"
        install_cell "$column" "$folder"
        unset PIP_CONSTRAINT
        python -m pytest -q -n auto --dist loadfile -p no:cacheprovider "$@"
    ) >"$log" 2>&1 || status=$?
    row=$("$folder/env/bin/python" scripts/lowest_versions.py --installed $PACKAGES) || row=?
    printf '| %s | %s | %s | %s |\n' "$version" "$column" "$row" "$(outcome "$log" "$status")" >>"$OUT/table.md"
    tail -n 1 "$OUT/table.md"
    rm -rf "$folder"
    return "$status"
}

# install_cell COLUMN FOLDER: install into the active environment.
install_cell() {
    export PIP_DISABLE_PIP_VERSION_CHECK=1
    if [ "$1" = lowest ]; then
        python scripts/lowest_versions.py >"$2/lowest.txt"
        export PIP_CONSTRAINT=$2/lowest.txt
    fi
    python -m liif_basicsr install-basicsr --editable '.[test]'
    python -m pip install --no-deps realesrgan
}

find_python() {
    local candidate
    for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
        if "$candidate" -c '' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

# outcome LOG STATUS: pytest's last line, or the last line of a failed installation.
outcome() {
    grep -E '^[0-9]+ (passed|failed|skipped|deselected)' "$1" | tail -n 1 || echo "not run (status $2): $(tail -n 1 "$1")"
}

main "$@"
