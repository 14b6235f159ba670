"""The environment variables by which a launcher tells a process its place; read nowhere else, and without torch."""

from __future__ import annotations

import os
from pathlib import Path

from redheart.errors import ConfigError, UsageError

#: What a launcher sets for each process of a group.
_PLACE = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_TRUE, _FALSE = ("1", "true", "t", "yes", "y", "on"), ("0", "false", "f", "no", "n", "off", "")
#: Accelerate's ways that are not ours, and what is in their stead.
_OTHER_WAYS = {
    "ACCELERATE_USE_FSDP": "weights are sharded by DeepSpeed's ZeRO here: launch/zero3.yaml",
    "ACCELERATE_USE_MEGATRON_LM": "weights are sharded by DeepSpeed's ZeRO here: launch/zero3.yaml",
}


def _whole_number(name: str, absent: int, *, least: int = 0) -> int:
    """The number in an environment variable.

    Raises:
        UsageError: it holds none.
    """
    found = os.environ.get(name)
    if found is None:
        return absent
    try:
        number = int(found)
    except ValueError:
        number = least - 1
    if number < least:
        raise UsageError(
            f"environment variable {name}: found {found!r}, wanted a whole number of at least {least}; a launcher sets it, "
            f"and what is left over in a shell is removed by: unset {name}"
        )
    return number


def rank() -> int:
    """This process's number in its group; 0 without a launcher.

    Raises:
        UsageError: the environment variable holds no number.
    """
    return _whole_number("RANK", 0)


def is_first_process() -> bool:
    """Whether this process is the one that speaks and writes for its group."""
    return rank() == 0


def world_size() -> int:
    """How many processes the launcher started; 1 without one.

    Raises:
        UsageError: the environment variable holds no number.
    """
    return _whole_number("WORLD_SIZE", 1, least=1)


def is_set(name: str) -> bool:
    """Whether an environment variable that says yes or no says yes.

    Raises:
        UsageError: it says neither.
    """
    found = os.environ.get(name, "")
    if found.lower() in _TRUE:
        return True
    if found.lower() in _FALSE:
        return False
    raise UsageError(f"environment variable {name}: found {found!r}, wanted true or false; without it: unset {name}")


def check_launch_variables() -> None:
    """Refuses a place in a group that is told by halves, and ways of Accelerate that would be ignored or fail later.

    Raises:
        UsageError: naming the variable, what is wanted, and how to be rid of it.
    """
    size, number, local = world_size(), rank(), _whole_number("LOCAL_RANK", -1, least=-1)
    _whole_number("MASTER_PORT", 1, least=1)
    told = [name for name in _PLACE[:3] if name in os.environ]
    missing = [name for name in _PLACE if not os.environ.get(name)]
    if (size > 1 or number > 0 or local >= 0) and missing:
        raise UsageError(
            f"environment: found {', '.join(f'{name}={os.environ[name]}' for name in told)} but no {', '.join(missing)}; a launcher "
            f"(accelerate launch, torchrun) sets them all. To run as one process: unset {' '.join(told)}"
        )
    if number >= size:
        raise UsageError(f"environment: found RANK={number} and WORLD_SIZE={size}, wanted a rank below the size")
    for name, instead in _OTHER_WAYS.items():
        if is_set(name):
            raise UsageError(f"environment variable {name}: found {os.environ[name]!r}; {instead}")
    for name in ("ACCELERATE_USE_CPU", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_DEBUG_MODE"):
        is_set(name)
    backend = os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no")
    if backend.lower() not in ("no", ""):
        raise UsageError(
            f"environment variable ACCELERATE_DYNAMO_BACKEND: found {backend!r}, wanted 'no'; what is compiled is said by "
            "training.compile=true"
        )
    accumulation_asked()


def meeting_place() -> tuple[str, int]:
    """Host and port at which the processes of this one's group meet; the first process's."""
    return os.environ["MASTER_ADDR"], _whole_number("MASTER_PORT", 1, least=1)


def is_gathered_by_launcher() -> bool:
    """Whether an agent, torchrun's or Accelerate's, found all processes before it started this one, and keeps their store."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" and bool(os.environ.get("TORCHELASTIC_RUN_ID"))


def check_local_rank(given: str) -> None:
    """Compares what some launchers put on the command line (``--local_rank=0``) with what they put into the environment.

    Raises:
        UsageError: they differ.
    """
    local = _whole_number("LOCAL_RANK", -1, least=0)
    if given != str(local):
        found = "no LOCAL_RANK" if local < 0 else f"LOCAL_RANK={local}"
        raise UsageError(
            f"found --local_rank={given} and, in the environment, {found}; wanted the same number: launchers such as deepspeed set both"
        )


def check_not_in_a_group() -> None:
    """Refuses a place in a group, for what starts a group of its own.

    Raises:
        UsageError: naming the variables, and how to be rid of them.
    """
    told = [name for name in _PLACE[:3] if name in os.environ]
    if told:
        raise UsageError(
            f"environment: found {', '.join(f'{name}={os.environ[name]}' for name in told)}, as a launcher's process has them; "
            f"redheart launch starts the processes itself: start it once, and where these are left over in a shell: unset {' '.join(told)}"
        )


def deepspeed_config_file() -> Path | None:
    """The DeepSpeed JSON that the launcher named, or None: plain.

    Raises:
        ConfigError: the file is not there.
    """
    if not is_set("ACCELERATE_USE_DEEPSPEED"):
        return None
    named = os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE")
    if not named:
        raise ConfigError("launched with DeepSpeed but without deepspeed_config_file: name one of ds_configs/*.json")
    beside_package = Path(__file__).resolve().parents[2] / named  # a launch from another folder than the project's
    for path in (Path(named), beside_package):
        if path.is_file():
            return path
    raise ConfigError(f"{named}: the DeepSpeed config that the launch file names is not there (looked in {Path.cwd()})")


def is_launched() -> bool:
    """Whether a launcher decided how this process trains: as one of several, or under DeepSpeed."""
    return world_size() > 1 or is_set("ACCELERATE_USE_DEEPSPEED")


def is_started_by_accelerate() -> bool:
    """Whether ``accelerate launch`` started this process, or its parent: it always says the precision."""
    return "ACCELERATE_MIXED_PRECISION" in os.environ


def accumulation_asked() -> int | None:
    """Micro-batches a step by the launcher (``--gradient_accumulation_steps``); None: it leaves that open."""
    asked = _whole_number("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", 1, least=1)
    return asked if asked > 1 else None


def precision_asked() -> str | None:
    """Mixed precision by the launcher (``--mixed_precision``); None: it leaves that open."""
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    return None if asked in ("no", "") else asked


def device_asked() -> str | None:
    """The device that ``ACCELERATE_TORCH_DEVICE`` names for Accelerate; None: its own choice."""
    return os.environ.get("ACCELERATE_TORCH_DEVICE") or None
