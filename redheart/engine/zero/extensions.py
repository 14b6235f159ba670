"""DeepSpeed's C++ extensions, compiled for up to minutes at first use: which ones a run needs, and their loading."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from redheart.engine.launch_variables import is_first_process
from redheart.engine.zero.config import DeepSpeedConfig, section_of
from redheart.engine.zero.extension_lock import sole_loader
from redheart.errors import MissingRequirement
from redheart.messages import info

_ADAM = "cpu_adam"
_BUILDERS = {_ADAM: "CPUAdamBuilder"}
#: Built by DeepSpeed on a machine without a GPU for whoever makes a group; only its inference by tensor parallelism uses it.
_SHARED_MEMORY = "ShareMemCommBuilder"


def extension_folder(name: str) -> Path:
    """Where PyTorch keeps an extension that it built."""
    from torch.utils.cpp_extension import _get_build_directory  # PyTorch says it nowhere else

    return Path(_get_build_directory(name, verbose=False))


def extensions_used(config: DeepSpeedConfig) -> list[str]:
    """Names of the extensions that a run under DeepSpeed's ``config`` uses: Adam on the CPU, where the optimizer is offloaded."""
    offload = section_of(section_of(config, "zero_optimization"), "offload_optimizer")
    return [_ADAM] if offload.get("device", "none") != "none" else []


def extensions_to_build(config: DeepSpeedConfig) -> list[str]:
    """Those of them that no run here has built yet."""
    return [name for name in extensions_used(config) if not (extension_folder(name) / f"{name}.so").exists()]


@contextlib.contextmanager
def own_ninja_first() -> Iterator[None]:
    """Within it, the ``ninja`` that is started is the Python package's, which DeepSpeed requires, if it is there.

    It need not be on the path where no environment is activated; and two versions of it that take turns on one folder
    compile everything anew each time, since they don't agree on what they have written down of it.
    """
    with contextlib.ExitStack() as stack:
        if importlib.util.find_spec("ninja") is not None:
            import ninja

            before = os.environ.get("PATH", os.defpath)
            stack.callback(os.environ.__setitem__, "PATH", before)
            os.environ["PATH"] = os.pathsep.join((ninja.BIN_DIR, before))
        yield


def provide_extensions(config: DeepSpeedConfig) -> None:
    """Loads the extensions of a run under DeepSpeed's ``config``, and says so where that will take minutes.

    For whatever makes DeepSpeed's group of processes, before it does: DeepSpeed would build them there, see ``load_extensions``.
    """
    import torch

    on_cuda = torch.cuda.is_available()
    missing = extensions_to_build(config)
    if missing and is_first_process():
        info("training.building", names=", ".join(missing))
    if not on_cuda:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        _leave_out_shared_memory()
    guard_every_extension()
    load_extensions(config)


def _leave_out_shared_memory() -> None:
    """Spares a minute of compiling what no training calls: in DeepSpeed's own table of what can be built here it can't be."""
    import deepspeed
    from deepspeed.accelerator import get_accelerator

    builder = get_accelerator().create_op_builder(_SHARED_MEMORY)
    if builder is not None:
        deepspeed.ops.__compatible_ops__[builder.NAME] = False


def load_extensions(config: DeepSpeedConfig) -> None:
    """Loads, and builds at their first use, the extensions of a run: one process at a time.

    DeepSpeed would do so later, all processes at once, and would wait for ever for one that was killed at it: see
    ``extension_lock.py``. What is loaded it takes as it is.

    Raises:
        MissingRequirement: one can't be built.
        StorageError: PyTorch's folder of extensions can't be locked.
    """
    from deepspeed.accelerator import get_accelerator

    for name in extensions_used(config):
        builder = get_accelerator().create_op_builder(_BUILDERS[name])
        with sole_loader(extension_folder(name)), own_ninja_first():
            try:
                builder.load(verbose=False)
            except (RuntimeError, OSError) as error:
                raise MissingRequirement(
                    f"DeepSpeed's extension {name} can't be built or loaded from {extension_folder(name)}: {error}\n"
                    "It needs a C++ compiler and ninja; `redheart doctor` looks for them. A folder with the remains of "
                    "another build can be removed."
                ) from error


def guard_every_extension() -> None:
    """From now on DeepSpeed builds and loads any extension in this process as ``load_extensions`` does: see ``extension_lock.py``."""
    from deepspeed.accelerator import get_accelerator

    builder = type(get_accelerator().create_op_builder("CPUAdamBuilder"))
    owner: Any = next(one for one in builder.__mro__ if "jit_load" in vars(one))
    original = owner.jit_load
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def guarded(self: Any, *arguments: Any, **options: Any) -> Any:
        with sole_loader(extension_folder(self.name)), own_ninja_first():
            return original(self, *arguments, **options)

    owner.jit_load = guarded
