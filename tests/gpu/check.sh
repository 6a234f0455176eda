#!/usr/bin/env bash
# Ten minutes with a GPU: bash tests/gpu/check.sh OUT, in the repository's root. Ends within 450 s.
# Nothing is installed: python3 (or PYTHON) has a torch with CUDA, pytest, and what landscape imports (pyproject.toml); what
# is missing is written into OUT/result.json. Each measurement is written there as soon as it is made.
# SIMULATED=1 runs the same on the simulated device of tests/simcuda.py, with small sizes: it tries the script, not a card.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
OUT=$(mkdir -p "${1:?OUT: a folder for what is found}" && cd "$1" && pwd)
python=${PYTHON:-python3}
site=$(mktemp -d)  # the packages under the names that they install as
trap 'rm -rf "$site"' EXIT
ln -s "$PWD/landscape" "$site/landscape"
ln -s "$PWD/cli" "$site/landscape_cli"
ln -s "$PWD/figures" "$site/landscape_figures"
mkdir "$site/torch_landscape-0.dist-info"
version=$(sed -n 's/^version = "\([^"]*\)".*/\1/p' pyproject.toml)
printf 'Metadata-Version: 2.1\nName: torch-landscape\nVersion: %s\n' "$version" > "$site/torch_landscape-0.dist-info/METADATA"
export PYTHONPATH=$site:$PWD/tests PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
simulated=() workers=() patience=1
if [ "${SIMULATED:-}" ]; then
    export LANDSCAPE_SIMULATED_CUDA=1
    simulated=(--simulated-cuda) patience=6
else
    timeout 20 nvidia-smi > "$OUT/nvidia-smi.txt" 2>&1
fi
check() { timeout $(($1 * patience)) "$python" tests/gpu/check.py "$2" "$OUT"; }

check 20 machine
check 100 numerics
check 40 verdicts
check 40 errors
"$python" -c "import xdist" 2> /dev/null && [ -z "${SIMULATED:-}" ] && workers=(-n 8)
timeout $((100 * patience)) "$python" -m pytest "${simulated[@]}" "${workers[@]}" ${SIMULATED:+tests/gpu} -m gpu -q -p no:cacheprovider \
    > "$OUT/pytest.log" 2>&1
"$python" tests/gpu/check.py tests "$OUT"
check 110 speed
check 40 launches
"$python" tests/gpu/check.py table "$OUT"
