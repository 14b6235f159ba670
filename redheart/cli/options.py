"""Options that stand for settings: which setting each one is, and the overrides that follow from those given."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from redheart.errors import UsageError

#: Option -> the setting that takes its value; the ablation has settings of its own for some.
_VALUES = {
    "output": "output",
    "seed": "seed",
    "data": "data.path",
    "preset": "model.preset",
    "epochs": "training.epochs",
    "lr": "training.learning_rate",
    "init_from": "training.init_from",
    "workers": "sweep.workers",
    "seeds": "ablation.seeds",
}
_VALUES_OF_ABLATE = {"epochs": "ablation.epochs", "workers": "ablation.workers"}
#: Option -> the setting that it turns on.
_SWITCHES = {
    "no_param_update": "training.no_param_update",
    "strict": "training.strict",
    "inline": "embedding.inline",
}


def _settings_by_option(command: str) -> dict[str, str]:
    return {**_VALUES, **(_VALUES_OF_ABLATE if command == "ablate" else {}), **_SWITCHES}


def overrides(arguments: Namespace) -> list[str | tuple[str, Any]]:
    """The dotted overrides as typed, then what the options mean.

    Raises:
        UsageError: an option and a setting say different things of the same.
    """
    found: list[str | tuple[str, Any]] = list(arguments.overrides)
    for option, key in _settings_by_option(arguments.command).items():
        value = getattr(arguments, option, None)
        if value is None or (option in _SWITCHES and value is False):
            continue
        typed = [word.partition("=")[2] for word in arguments.overrides if word.partition("=")[0] == key]
        if typed and not _agree(typed[-1], value):
            raise UsageError(
                f"found {option_of(arguments.command, key)}{'' if value is True else f' {value}'} and {key}={typed[-1]}; wanted one of them"
            )
        found.append((key, value))
    return found


def _agree(typed: str, value: Any) -> bool:
    """Whether a setting as typed says what an option's value says; numbers may be written in more than one way."""
    if isinstance(value, bool):
        return typed.lower() == str(value).lower()
    if isinstance(value, (int, float)):
        try:
            return float(typed) == float(value)
        except (ValueError, OverflowError):
            return False
    return typed == str(value)


def option_of(command: str, key: str) -> str:
    """The option of ``command`` that stands for the setting ``key``, as it is typed."""
    option = next(option for option, setting in _settings_by_option(command).items() if setting == key)
    return f"--{option.replace('_', '-')}"
