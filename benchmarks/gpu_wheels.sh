#!/usr/bin/env bash
# What a bare machine with a GPU lacks, for benchmarks/gpu_all.sh to unpack there: fills .gpu, about 55 MB.
#
# GPU_PYTHON (3.12) is the version of the Python there, which has PyTorch, Accelerate and SentenceTransformers. DeepSpeed has no
# wheel on the package index, so one is built; its extensions are compiled where they run. The encoder goes as fp16.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cd "$here"
python=${PYTHON:?"the Python that Red Heart is installed in"}
version=${GPU_PYTHON:-3.12}
rm -rf .gpu
mkdir -p .gpu/wheels
platforms=()
for year in 2_28_x86_64 2_27_x86_64 2_17_x86_64 2014_x86_64 2_12_x86_64; do
    case $year in 2014*) platforms+=(--platform "manylinux$year") ;; *) platforms+=(--platform "manylinux_$year") ;; esac
done
# pydantic (DeepSpeed's) wants one version of its core: both as they are installed here.
for name in msgspec psutil ruptures pymannkendall pytest-timeout pydantic pydantic-core annotated-types typing-inspection hjson einops; do
    wanted=$("$python" -c "from importlib.metadata import version; print('$name==' + version('$name'))" 2>/dev/null || echo "$name")
    "$python" -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: --python-version "$version" \
        --implementation cp "${platforms[@]}" -d .gpu/wheels "$wanted"
done
deepspeed=$("$python" -c "from importlib.metadata import version; print('deepspeed==' + version('deepspeed'))")
"$python" -m pip wheel -q --disable-pip-version-check --no-deps --no-build-isolation -w .gpu/wheels "$deepspeed"
"$python" - <<'PYTHON'
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from redheart.embedding.model_source import DEFAULT_MODEL, find_model

source, target = find_model(DEFAULT_MODEL).folder, Path(".gpu/encoder")
shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors", "data_config.json", "onnx", "*.bin"))
for file in source.glob("*.safetensors"):
    halved = {name: one.half() if one.is_floating_point() else one for name, one in load_file(file).items()}
    save_file(halved, target / file.name, metadata={"format": "pt"})
PYTHON
du -sh .gpu
