"""Accelerate's launch file as far as it matters here: reading it, and the errors where this machine or the launch is not what it says.

A process that Accelerate started is not told by which file. What it says of devices – ``use_cpu`` for several processes, ``gpu_ids:
all`` – gets lost on the way, so the file is looked up on the command line of the launcher, which is a parent.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from redheart.engine.launch_variables import is_set, is_started_by_accelerate, world_size
from redheart.errors import ConfigError, UsageError

#: Of the parents, how many may stand between a process and its launcher.
_NEAR = 3


class DeepSpeedSection(msgspec.Struct, frozen=True):
    """Of a launch file, what it says of DeepSpeed, as far as it matters here."""

    deepspeed_config_file: str | None = None


class LaunchFile(msgspec.Struct, frozen=True):
    """What matters here of an Accelerate configuration; the rest is Accelerate's.

    Attributes:
        gpu_ids: a file that names any, or all, is one for GPUs; the others are for whatever is there.
    """

    num_processes: int = 1
    num_machines: int = 1
    distributed_type: str = "NO"
    main_process_port: int | None = None
    use_cpu: bool = False
    gpu_ids: str | int | None = None
    deepspeed_config: DeepSpeedSection = DeepSpeedSection()

    @property
    def deepspeed_file(self) -> Path | None:
        """The DeepSpeed JSON that it names; None: none, or it is not there, which a process of the group tells."""
        named = self.deepspeed_config.deepspeed_config_file
        if self.distributed_type.upper() != "DEEPSPEED" or named is None:
            return None
        found = find_data_file(named)
        return found if found.is_file() else None

    @property
    def is_for_gpus(self) -> bool:
        return self.gpu_ids is not None and not self.use_cpu


def find_launch_file(named: str) -> Path:
    """The file, in the current folder or beside the package: as its DeepSpeed JSON is looked for.

    Raises:
        UsageError: it is not there.
    """
    path = find_data_file(named)
    if not path.is_file():
        raise UsageError(
            f"--launch-file: found no file {named!r} (looked in {Path.cwd()}); wanted one of launch/*.yaml"
        )
    return path


def find_data_file(named: str) -> Path:
    """A file that a command or a launch file names, in the current folder or beside the package; it need not be there."""
    here = Path(named)
    return here if here.is_file() else Path(__file__).resolve().parents[2] / named


def read_launch_file(path: Path) -> LaunchFile:
    """Reads it.

    Raises:
        ConfigError: it is no Accelerate configuration.
    """
    import yaml

    try:
        found = msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), LaunchFile)
    except (yaml.YAMLError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path}: wanted an Accelerate configuration, such as launch/zero2.yaml: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path}: could not read: {error.strerror or error}") from error
    if found.num_processes < 1:
        raise ConfigError(f"{path}: num_processes: found {found.num_processes}, wanted at least 1")
    return found


def check_devices(path: Path, file: LaunchFile, processes: int) -> None:
    """Compares the devices that a launch file is for with those that are here; nothing heavy is loaded where there are none.

    Args:
        processes: of this machine that are to be started, or were.

    Raises:
        ConfigError: there is no GPU for a file that is for GPUs, or there are more processes than GPUs.
    """
    from redheart.machine import find_gpus

    if file.use_cpu:
        return
    gpus = len(find_gpus())
    if gpus == 0 and file.is_for_gpus:
        instead = "launch/cpu.yaml" if file.distributed_type.upper() == "NO" else "launch/multi_cpu.yaml"
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
        why = ' (CUDA_VISIBLE_DEVICES="" hides them all)' if hidden else ""
        raise ConfigError(
            f"{path}: gpu_ids: found {file.gpu_ids!r}, but this machine has no GPU that PyTorch can use{why}; wanted {instead}, or "
            "`redheart launch` without --launch-file, which chooses by what is there"
        )
    if gpus and processes > gpus:
        raise ConfigError(
            f"{path}: {processes} processes are asked for (num_processes: {file.num_processes}, unless --num_processes or --processes "
            f"says otherwise), and this machine has {gpus} GPU(s), one for each; wanted at most {gpus}"
        )


@dataclass(frozen=True)
class Launcher:
    """The ``accelerate launch`` that started this process: its file, and what its command line says of how many.

    Attributes:
        processes: of ``--num_processes``, which wins over the file; None: not given.
    """

    path: Path
    file: LaunchFile
    processes: int | None


def find_launcher() -> Launcher | None:
    """The launcher among this process's parents; None: none, or one without a file, or one that can't be looked at.

    Raises:
        ConfigError: its file is no Accelerate configuration.
    """
    if not is_started_by_accelerate():
        return None
    import psutil

    with contextlib.suppress(psutil.Error):
        for parent in psutil.Process().parents()[:_NEAR]:
            words = parent.cmdline()
            if not any("accelerate" in Path(word).name for word in words[:4]):
                continue
            named = _option(words, "config_file")
            if named is None:
                return None
            path = Path(parent.cwd(), named)
            shown = Path(named) if Path(named).is_file() else path
            return Launcher(shown, read_launch_file(path), _number(words)) if path.is_file() else None
    return None


def _option(words: Sequence[str], name: str) -> str | None:
    """The value of an option of Accelerate's own; what comes after the program that it starts is the program's."""
    found: str | None = None
    spellings = (f"--{name}", f"--{name.replace('_', '-')}")
    for number, word in enumerate(words):
        if word in ("redheart", "train") or (word.endswith(("/redheart", ".py")) and number > 2):
            break
        if word in spellings and number + 1 < len(words):
            found = words[number + 1]
        for spelling in spellings:
            if word.startswith(f"{spelling}="):
                found = word.partition("=")[2]
    return found


def _number(words: Sequence[str]) -> int | None:
    with contextlib.suppress(TypeError, ValueError):
        return int(_option(words, "num_processes"))  # type: ignore[arg-type]
    return None


def check_launch() -> bool:
    """Compares the launch of this process with the file that it is by, and leaves the GPUs out where that, or the launcher, says so.

    Returns:
        Whether there are GPUs here which are left out. Before torch is loaded: what is hidden then is there for nobody.

    Raises:
        ConfigError: number of processes or devices are not what the file says.
    """
    launcher = find_launcher()
    if launcher is not None:
        size = world_size()
        asked = launcher.processes or launcher.file.num_processes
        if asked != size:
            place = (
                f"--num_processes {asked}" if launcher.processes else f"{launcher.path}: num_processes: found {asked}"
            )
            cure = (
                "what is left over of another launch in a shell is removed by: unset RANK WORLD_SIZE LOCAL_RANK"
                if size > asked
                else f"--num_processes {size}, or a launch file that starts {asked}: launch/multi_cpu.yaml, launch/multi_gpu.yaml"
            )
            raise ConfigError(
                f"{place}, but this launch has {size} process(es) (environment variable WORLD_SIZE: "
                f"{os.environ.get('WORLD_SIZE', 'not set')}; distributed_type: {launcher.file.distributed_type!r}); wanted the same "
                f"number: {cure}"
            )
        check_devices(launcher.path, launcher.file, size // max(1, launcher.file.num_machines))
    if not is_set("ACCELERATE_USE_CPU") and not (launcher is not None and launcher.file.use_cpu):
        return False
    from redheart.machine.gpus import hide_gpus

    return hide_gpus()
