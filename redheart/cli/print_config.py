"""The output of ``--print-config``: settings as YAML that ``--config`` takes, each with its origin beside it."""

from __future__ import annotations

from argparse import Namespace

from redheart.cli.commands import COMMANDS
from redheart.cli.options import option_of
from redheart.cli.terminal import show, takes_every_letter
from redheart.config import Config, Resolution, with_settings
from redheart.config.commented import commented_yaml
from redheart.config.load import KNOWN_KEYS, SECTIONS, Loaded, Source
from redheart.config.resolution import setting
from redheart.messages import set_language, text

_EPOCHS, _LEARNING_RATE = "training.epochs", "training.learning_rate"


def print_settings(arguments: Namespace, loaded: Loaded) -> None:
    """Prints the page. It is read again as UTF-8: where standard output is something else it is in ASCII, and in English."""
    if not takes_every_letter():
        set_language("en")
    show(settings_text(arguments, loaded, ascii_only=not takes_every_letter()), end="")


def settings_text(arguments: Namespace, loaded: Loaded, *, ascii_only: bool = False) -> str:
    """The page for the parsed command line. Reads the sweep's choice and looks at the device, where the command would."""
    config, comments = loaded.config, {}
    samples = getattr(arguments, "samples", None)
    if samples is not None and samples < config.training.epochs:
        config = with_settings(config, {_EPOCHS: samples})
        comments[_EPOCHS] = text("config.from_option", option=f"--samples {samples}")
    resolution = _resolution(arguments, config)
    comments |= resolution.changed
    if resolution.config.training.learning_rate is None and getattr(arguments, "lr_sweep", False):
        comments[_LEARNING_RATE] = text("config.lr_swept_first")
    defaults = Config()
    for key in KNOWN_KEYS:
        if key not in SECTIONS and key not in comments and setting(resolution.config, key) != setting(defaults, key):
            comments[key] = _origin(arguments.command, key, loaded.sources[key])
    return commented_yaml(resolution.config, comments, ascii_only=ascii_only)


def _resolution(arguments: Namespace, config: Config) -> Resolution:
    """As the command's stage resolves it; a command that trains nothing leaves open what is open."""
    trains = COMMANDS[arguments.command].trains or getattr(arguments, "what", None)
    if not trains:
        return Resolution(config, config, {})
    from redheart.workflow.resolve import choose_learning_rate, resolve

    sweeps_first = getattr(arguments, "lr_sweep", False) and config.training.learning_rate is None
    if arguments.command == "sweep" or sweeps_first:
        return resolve(config)
    learning_rate = choose_learning_rate(config, asks_sweep=arguments.command != "doctor")
    return resolve(config, learning_rate, takes_smallest_preset=arguments.command == "ablate")


def _origin(command: str, key: str, source: Source) -> str:
    if source.kind == "file":
        return text("config.from_file", path=source.name)
    if source.kind == "override":
        return text("config.from_override", typed=source.name)
    return text("config.from_option", option=option_of(command, key))
