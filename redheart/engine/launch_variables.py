"""The environment variables by which a launcher tells a process its place; read nowhere else, and without torch."""

from __future__ import annotations

import os
from pathlib import Path

from redheart.errors import ConfigError


def rank() -> int:
    """This process's number in its group; 0 without a launcher."""
    return int(os.environ.get("RANK", "0"))


def is_first_process() -> bool:
    """Whether this process is the one that speaks and writes for its group."""
    return rank() == 0


def world_size() -> int:
    """How many processes the launcher started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def deepspeed_config_file() -> Path | None:
    """The DeepSpeed JSON that the launcher named, or None: plain.

    Raises:
        ConfigError: the file is not there.
    """
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() != "true":
        return None
    named = os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE")
    if not named:
        raise ConfigError("launched with DeepSpeed but without deepspeed_config_file: name one of ds_configs/*.json")
    beside_package = Path(__file__).resolve().parents[2] / named  # a launch from another folder than the project's
    for path in (Path(named), beside_package):
        if path.is_file():
            return path
    raise ConfigError(f"{named}: the DeepSpeed config that the launch file names is not there (looked in {Path.cwd()})")
