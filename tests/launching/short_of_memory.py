"""``redheart`` where a process runs out of memory: read by a process that ``redheart launch`` starts, before anything else.

A folder that holds it as ``sitecustomize.py`` stands first on the import path. ``SHORT_AT`` says ``rank:situations``: on that process no
micro-batch of more situations has room in its third backward pass.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import sys
from types import ModuleType
from typing import Any

_ENGINE = "redheart.engine.zero.engine"


class _Patching(importlib.abc.MetaPathFinder):
    """Patches the engine once it is loaded: nothing else has to be loaded for it."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != _ENGINE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.loader is not None
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            _plant(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _plant(module: Any) -> None:
    import torch

    rank, most = os.environ["SHORT_AT"].split(":")
    backward, passes = module.DeepSpeedEngine.backward, 0

    def short(self: Any, loss: Any, *, is_last: bool) -> None:
        nonlocal passes
        passes += 1
        if os.environ.get("RANK") == rank and self.geometry.micro_batch_size > int(most) and passes > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        backward(self, loss, is_last=is_last)

    module.DeepSpeedEngine.backward = short


if "SHORT_AT" in os.environ:
    sys.meta_path.insert(0, _Patching())
