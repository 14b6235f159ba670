"""A library that could not be imported: which, why, and the environment variables that it may have stumbled over."""

from __future__ import annotations

import os
from pathlib import Path
from types import FrameType
from typing import Any

import redheart

_OURS = Path(redheart.__file__).parent
#: Library -> beginnings of the names of environment variables that it reads while it is imported, beside its own name's.
_READS = {
    "torch": ("TORCH", "PYTORCH_", "CUDA_", "OMP_", "MKL_", "KMP_"),
    "accelerate": ("ACCELERATE_", "TORCH"),
    "deepspeed": ("DEEPSPEED_", "DS_", "TORCH"),
    "transformers": ("TRANSFORMERS_", "HF_", "TORCH"),
    "huggingface_hub": ("HF_",),
    "matplotlib": ("MPL",),
    "numpy": ("OPENBLAS_", "MKL_", "OMP_"),
}
_MOST = 5


def what_failed_to_import(error: BaseException) -> str | None:
    """What a person can do about an error that arose while a library was imported; None for any other error."""
    module = _imported(error)
    if module is None:
        return None
    package = module.split(".")[0]
    reason = next((line for line in str(error).splitlines() if line.strip()), "").strip()
    message = f"the library {package} could not be imported: {type(error).__name__}: {reason}"
    beginnings = (f"{package.upper()}_", *_READS.get(package, ()))
    found = [f"{name}={value!r}" for name, value in sorted(os.environ.items()) if name.startswith(beginnings)]
    if found:
        return f"{message}; environment variables that it reads may be the cause: {', '.join(found[:_MOST])}"
    return f"{message}; install what constraints.txt names: pip install -e . -c constraints.txt in the project folder"


def _imported(error: BaseException) -> str | None:
    """The innermost module of a library whose body was being run; None: no library was being imported."""
    found = None
    step: Any = error.__traceback__
    while step is not None:
        frame: FrameType = step.tb_frame
        file = frame.f_code.co_filename
        if frame.f_code.co_name == "<module>" and not Path(file).is_relative_to(_OURS):
            found = str(frame.f_globals.get("__name__", file))
        step = step.tb_next
    return found
