"""The extensions of DeepSpeed built ahead of any job: which of them are built, and the building of the rest."""

from __future__ import annotations

import importlib.util
import os
import shutil
import time

from redheart.engine.zero.config import DeepSpeedConfig
from redheart.engine.zero.extensions import (
    extension_folder,
    extensions_to_build,
    extensions_used,
    guard_every_extension,
    load_extensions,
)
from redheart.errors import MissingRequirement
from redheart.messages import info
from redheart.progress import Progress

#: Seconds that one takes on a core of its own, measured; a machine with much else to do takes twice as long.
SECONDS = 60
#: What uses all that a training here can use: Adam's step in host memory.
EVERYTHING: DeepSpeedConfig = {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}}


def check_can_build() -> None:
    """Looks for what compiles.

    Raises:
        MissingRequirement: DeepSpeed, a C++ compiler or ninja is not here; with the package that brings it.
    """
    wanted = {
        "DeepSpeed (pip install deepspeed)": importlib.util.find_spec("deepspeed") is not None,
        "a C++ compiler (apt install g++)": bool(os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")),
        "ninja (pip install ninja, or apt install ninja-build)": bool(
            shutil.which("ninja") or importlib.util.find_spec("ninja")
        ),
    }
    missing = [what for what, is_there in wanted.items() if not is_there]
    if missing:
        raise MissingRequirement(f"DeepSpeed's extensions can't be built: wanted {' and '.join(missing)}, found none")


def build_ahead(config: DeepSpeedConfig | None = None) -> None:
    """Builds what a run under ``config`` would build at its first use, into the folder in which it looks; says what is there already.

    Args:
        config: None: all that any training here can use.

    Raises:
        MissingRequirement: it can't be built.
    """
    config = EVERYTHING if config is None else config
    missing = extensions_to_build(config)
    for name in extensions_used(config):
        if name not in missing:
            info("training.built_ahead", name=name, folder=extension_folder(name))
    if not missing:
        return
    check_can_build()
    for_this_machine()
    guard_every_extension()
    for name in missing:
        info("training.builds", name=name, folder=extension_folder(name), seconds=SECONDS)
    began = time.monotonic()
    with Progress(", ".join(missing)):
        load_extensions(config)
    info("training.built", names=", ".join(missing), seconds=time.monotonic() - began)


def for_this_machine() -> None:
    """Has DeepSpeed, where it is not loaded yet, build for the CPU where there is no GPU, and not what its compiler hints at."""
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
