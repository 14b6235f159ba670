"""The command by which a group of processes is started: Accelerate's launcher, or Python alone for one plain process."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from redheart.errors import ConfigError, MissingRequirement, RedHeartError
from redheart.launching.launch_file import check_devices, find_launch_file, read_launch_file
from redheart.messages import info
from redheart.worker_pool.slots import environment_of_started, own_environment


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
            ConfigError: it does not start so many here, or is none.
        """
        if launch_file is None:
            return GroupCommand(processes or 1, None, tuple(arguments))
        path = find_launch_file(launch_file)
        found = read_launch_file(path)
        if found.num_machines != 1:
            raise ConfigError(
                f"{path}: num_machines: found {found.num_machines}, wanted 1: `redheart launch` starts the processes of one machine. "
                f"On several: accelerate launch --config_file {path} --machine_rank … -m redheart train, on each"
            )
        count = processes or found.num_processes
        if count > 1 and found.distributed_type.upper() == "NO":
            asked = f"--processes {count}" if processes else f"num_processes: {count}"
            raise ConfigError(
                f"{path}: distributed_type 'NO' starts one process, but {asked} is asked for; leave --launch-file out, or name "
                "launch/multi_gpu.yaml or launch/multi_cpu.yaml"
            )
        check_devices(path, found, count)
        return GroupCommand(count, path, tuple(arguments), found.main_process_port)

    def build_ahead(self) -> None:
        """Builds what its processes would compile at first, before any of them is started, and says so, or that it is there.

        In a process of its own, which ends with what it loaded.

        Raises:
            MissingRequirement: it can't be built; why is said above.
        """
        file = None if self.launch_file is None else read_launch_file(self.launch_file).deepspeed_file
        if file is None or importlib.util.find_spec("deepspeed") is None:  # the group tells of either
            return
        from redheart.engine.zero.extensions import extension_folder, extensions_to_build, extensions_used

        try:
            config = json.loads(file.read_text(encoding="utf-8"))
            names, missing = extensions_used(config), extensions_to_build(config)
        except (OSError, ValueError, RedHeartError):  # the group tells of it, with the file's name
            return
        if names and not missing:
            info("training.built_ahead", name=", ".join(names), folder=extension_folder(names[0]).parent)
        if not missing:
            return
        done = subprocess.run(
            [sys.executable, "-m", "redheart", "doctor", "build"],
            env=environment_of_started(own_environment()),
            check=False,
        )
        if done.returncode != 0:
            raise MissingRequirement(
                f"{file}: wants DeepSpeed's extension {', '.join(missing)}, which could not be built; why is said above"
            )

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
