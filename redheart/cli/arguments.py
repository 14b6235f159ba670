"""Argument types, checked as they are read, and the options that several commands share."""

from __future__ import annotations

import argparse

from redheart.tasks import GROUPS

PRESETS = ("auto", "tiny", "small", "730m")
OVERRIDES_HELP = "settings as KEY=VALUE, such as training.epochs=3 (see docs/configuration.md)"


def filled(value: str) -> str:
    """A path: anything but nothing. An unset variable in a script must not stand for the default."""
    if not value.strip():
        raise argparse.ArgumentTypeError(f"found an empty value, {value!r}; wanted a path (is a variable unset?)")
    return value


def positive(value: str) -> int:
    """A whole number of at least 1."""
    try:
        number = int(value)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"found '{value}', wanted a whole number of at least 1")
    return number


def at_least_none(value: str) -> int:
    """A whole number of at least 0."""
    return 0 if value.strip() == "0" else positive(value)


def size_in_bytes(value: str) -> int:
    """A size such as ``8GiB``."""
    from redheart.plan.hardware import parse_bytes

    try:
        return parse_bytes(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def several(value: str) -> int:
    """A whole number of at least 2."""
    number = positive(value)
    if number < 2:
        raise argparse.ArgumentTypeError("found '1', wanted at least 2: a spread needs two")
    return number


def groups_named(value: str) -> tuple[str, ...]:
    """What an ablation can leave out, separated by commas."""
    known = (*GROUPS, "radial", "paths", "linear")
    groups = tuple(word.strip() for word in value.split(","))
    for group in groups:
        if group not in known:
            raise argparse.ArgumentTypeError(f"found '{group}', wanted some of {','.join(known)}")
    return groups


def rate(value: str) -> float:
    """A learning rate."""
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(
            f"found '{value}', wanted a learning rate between 0 and 1, such as 5.6e-05"
            + ("" if value.strip() else " (is lr_sweep_results/optimal_lr.json there?)")
        )
    return number


def common_options(parser: argparse.ArgumentParser, *, skips: bool = True) -> None:
    """What every command takes that reads a dataset.

    The settings among them are taken by each stage, whether it reads them or not: one list of options serves all in a batch
    file. The rest is taken only where it acts.

    Args:
        skips: what was done before is skipped, unless ``--force`` says otherwise.
    """
    group = parser.add_argument_group("common options")
    group.add_argument(
        "--data", type=filled, metavar="FILE", help="the dataset: a JSON array or JSON Lines of situations"
    )
    group.add_argument("--seed", type=int, metavar="N", help="seed of weights, order and dropout (default: 0)")
    if skips:
        group.add_argument("--force", action="store_true", help="do again what was done before with the same inputs")
    options_without_dataset(group)
    parser.epilog = f"Besides options: {OVERRIDES_HELP}."


def options_without_dataset(group: argparse._ArgumentGroup) -> None:
    """What makes sense for a command without a dataset too."""
    group.add_argument("--config", type=filled, metavar="FILE", help="a YAML file of settings")
    group.add_argument(
        "--print-config",
        action="store_true",
        help="print the settings, resolved, as YAML for --config, each with where it comes from; start nothing",
    )
    group.add_argument(
        "--output", type=filled, metavar="FOLDER", help="where everything is written (default: training)"
    )
    group.add_argument("--preset", choices=PRESETS, help="size of the model (default: auto)")
    group.add_argument("--lang", choices=("ko", "en"), help="language of messages (default: $REDHEART_LANG, else ko)")
    group.add_argument("--verbose", action="store_true", help="each line with its time")
    group.add_argument("--debug", action="store_true", help="notes for developers too, and tracebacks of errors")


def training_options(parser: argparse.ArgumentParser) -> None:
    """What a command takes that starts the main training."""
    parser.add_argument("--epochs", type=positive, metavar="N", help="epochs of the main training (default: 60)")
    parser.add_argument("--lr", type=rate, metavar="RATE", help="peak learning rate (default: the sweep's choice)")
    parser.add_argument(
        "--init-from",
        type=filled,
        metavar="CHECKPOINT",
        help="begin with the weights of an epoch, best_model, an export or crossover_final.pth (default: random ones)",
    )
    parser.add_argument(
        "--no-param-update", action="store_true", help="dry run: forward and backward, no optimizer step"
    )
    parser.add_argument("--strict", action="store_true", help="stop when a tensor or module does not train")


def hardware_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Another machine than this one, by what there is of it."""
    group = parser.add_argument_group("another machine than this one")
    group.add_argument("--gpus", type=positive, metavar="N", help="GPUs of a node (default: those found)")
    group.add_argument(
        "--gpu-memory", type=size_in_bytes, metavar="SIZE", help="of each, such as 8GiB (default: what is free)"
    )
    group.add_argument(
        "--host-memory", type=size_in_bytes, metavar="SIZE", help="of a node, such as 64GiB (default: what is free)"
    )
    return group
