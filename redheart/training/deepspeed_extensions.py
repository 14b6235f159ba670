"""DeepSpeed compiles C++ at its first use, for up to minutes and without a word: which of it is still to be built."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any


def _built(name: str) -> bool:
    """Whether PyTorch's cache of extensions holds ``name``; where: ``torch.utils.cpp_extension._get_build_directory``."""
    root = os.environ.get("TORCH_EXTENSIONS_DIR")
    if root is not None:
        return (Path(root) / name / f"{name}.so").exists()
    from torch.utils.cpp_extension import get_default_build_root

    ours = f"py{sys.version_info.major}{sys.version_info.minor}*"
    return any(Path(get_default_build_root()).glob(f"{ours}/{name}/{name}.so"))


def extensions_to_build(config: dict[str, Any], *, on_cuda: bool) -> list[str]:
    """Names of the extensions that a run under DeepSpeed's ``config`` uses and that no run here has built yet.

    They are Adam on the CPU, where the optimizer is offloaded, and, without a GPU, the communication by shared memory.
    """
    offload = config.get("zero_optimization", {}).get("offload_optimizer") or {}
    used = ["cpu_adam"] if offload.get("device", "none") != "none" else []
    used += [] if on_cuda else ["deepspeed_shm_comm"]
    return [name for name in used if not _built(name)]
