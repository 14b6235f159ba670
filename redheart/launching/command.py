"""The command by which a group of processes is started: Accelerate's launcher, or Python alone for one plain process."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import yaml

from redheart.errors import ConfigError, UsageError


class DeepSpeedSection(msgspec.Struct, frozen=True):
    """What matters of its section for DeepSpeed."""

    deepspeed_config_file: str | None = None


class LaunchFile(msgspec.Struct, frozen=True):
    """What matters here of an Accelerate configuration; the rest is Accelerate's."""

    num_processes: int = 1
    num_machines: int = 1
    distributed_type: str = "NO"
    main_process_port: int | None = None
    deepspeed_config: DeepSpeedSection = DeepSpeedSection()


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
        ConfigError: it is no Accelerate configuration, or one of several machines.
    """
    try:
        found = msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), LaunchFile)
    except (yaml.YAMLError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path}: wanted an Accelerate configuration, such as launch/zero2.yaml: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path}: could not read: {error.strerror or error}") from error
    if found.num_processes < 1:
        raise ConfigError(f"{path}: num_processes: found {found.num_processes}, wanted at least 1")
    if found.num_machines != 1:
        raise ConfigError(
            f"{path}: num_machines: found {found.num_machines}, wanted 1: `redheart launch` starts the processes of one machine. "
            f"On several: accelerate launch --config_file {path} --machine_rank … -m redheart train, on each"
        )
    return found


@dataclass(frozen=True)
class GroupCommand:
    """How a group is started.

    Attributes:
        processes: how many.
        launch_file: an Accelerate configuration; None: plain, and data parallel where there are several processes.
        arguments: of ``redheart``.
        port: that the launch file names; None: a free one.
    """

    processes: int
    launch_file: Path | None
    arguments: tuple[str, ...]
    port: int | None = None

    @staticmethod
    def of(arguments: Sequence[str], *, launch_file: str | None = None, processes: int | None = None) -> GroupCommand:
        """Without a launch file plain processes, one if no number is asked for.

        Args:
            processes: how many were asked for: it wins over the file.

        Raises:
            UsageError: the launch file is not there.
            ConfigError: it does not start so many, or is none.
        """
        if launch_file is None:
            return GroupCommand(processes or 1, None, tuple(arguments))
        path = find_launch_file(launch_file)
        found = read_launch_file(path)
        count = processes or found.num_processes
        if count > 1 and found.distributed_type.upper() == "NO":
            asked = f"--processes {count}" if processes else f"num_processes: {count}"
            raise ConfigError(
                f"{path}: distributed_type 'NO' starts one process, but {asked} is asked for; leave --launch-file out, or name "
                "launch/multi_gpu.yaml or launch/multi_cpu.yaml"
            )
        return GroupCommand(count, path, tuple(arguments), found.main_process_port)

    @property
    def needs_port(self) -> bool:
        """Whether its processes meet at a port."""
        return self.processes > 1 or self.launch_file is not None

    def line(self, port: int | None, *, overrides: Sequence[str] = (), is_forced: bool = True) -> list[str]:
        """The whole command line.

        Args:
            overrides: settings that this start has besides.
            is_forced: whether a ``--force`` that was given still holds; a group that goes on does not begin anew.
        """
        given = [one for one in self.arguments if is_forced or one != "--force"]
        return [sys.executable, *self._launcher(port), "-m", "redheart", *given, *overrides]

    def _launcher(self, port: int | None) -> list[str]:
        if not self.needs_port:
            return []
        words = ["-m", "accelerate.commands.launch"]
        if self.launch_file is not None:
            words += ["--config_file", str(self.launch_file)]
        else:
            words += ["--multi_gpu", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        words += ["--num_processes", str(self.processes)]
        return words if port is None else [*words, "--main_process_port", str(port)]
