"""The edge: arguments and environment variables are read here, once; errors become one message and an exit code."""

from __future__ import annotations

import os
import sys
import warnings
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redheart.cli.parser import parse_arguments
from redheart.errors import Interrupted, RedHeartError, UsageError
from redheart.paths import OutputPaths

#: Commands that write a run's files; sweeping and embedding are made for several at a time.
_ALONE_IN_ITS_FOLDER = {"train", "consolidate", "analyze", "crossover", "ablate", "report", "workflow"}


def _overrides(arguments: Namespace) -> list[str | tuple[str, Any]]:
    """The dotted overrides as typed, then what the options mean."""
    found: list[str | tuple[str, Any]] = list(arguments.overrides)
    for option, key in (
        ("output", "output"),
        ("seed", "seed"),
        ("data", "data.path"),
        ("preset", "model.preset"),
        ("epochs", "ablation.epochs" if arguments.command == "ablate" else "training.epochs"),
        ("lr", "training.learning_rate"),
        ("workers", "ablation.workers" if arguments.command == "ablate" else "sweep.workers"),
        ("seeds", "ablation.seeds"),
    ):
        value = getattr(arguments, option, None)
        if value is not None:
            found.append((key, value))
    for option, key in (
        ("no_param_update", "training.no_param_update"),
        ("strict", "training.strict"),
        ("inline", "embedding.inline"),
    ):
        if getattr(arguments, option, False):
            found.append((key, True))
    return found


def _is_first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def run(arguments: Namespace) -> int:
    """Carries out a parsed command line."""
    from redheart.messages import LANGUAGES, set_language, set_up_logging

    # Read by GNU OpenMP when torch is loaded: waiting threads spin briefly, then sleep. Measured with `tiny` on 2 cores, in
    # situations/s: 300 on idle cores and 50 to 120 beside two other busy processes; spinning for long, as is the default
    # there, 320 and 20; always sleeping 150.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    # DeepSpeed calls torch.distributed by names that newer versions of torch deprecate: nothing a user can act on.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed\..*")
    asked = arguments.lang or os.environ.get("REDHEART_LANG") or "ko"
    chosen = next((language for language in LANGUAGES if language == asked), None)
    if chosen is None:
        raise UsageError(f"REDHEART_LANG: found '{asked}', wanted 'ko' or 'en'")
    set_language(chosen)
    os.environ["REDHEART_LANG"] = chosen  # worker processes speak the same language
    if arguments.command == "params":
        from redheart.cli.commands import show_parameters

        return show_parameters(arguments)

    from redheart.config import load_config

    config = load_config(Path(arguments.config) if arguments.config else None, _overrides(arguments))
    if Path(config.output).exists() and not Path(config.output).is_dir():
        raise UsageError(f"{config.output}: is a file, wanted a folder for the output")
    only_looks = arguments.command == "doctor" and arguments.what is None
    starts_nothing = only_looks or arguments.command == "predict" or getattr(arguments, "mode", "") == "validate"
    set_up_logging(
        verbose=arguments.verbose,
        debug=arguments.debug,
        file=None if starts_nothing else OutputPaths(config.output).log,
        quiet=not _is_first_process(),
    )
    from redheart.cli import commands

    command = commands.COMMANDS[arguments.command]
    if arguments.command not in _ALONE_IN_ITS_FOLDER or starts_nothing:
        return command(arguments, config)
    from redheart.workflow.lock import sole_user

    with sole_user(Path(config.output)):
        return command(arguments, config)


def _report(command: str, error: RedHeartError) -> None:
    """The message, once: from the first process, or from the only one of a group that has something to say."""
    if _is_first_process():
        print(f"redheart {command}: {error}", file=sys.stderr)
    elif not isinstance(error, (UsageError, Interrupted)):  # those two are the same in every process
        print(f"redheart {command} [process {os.environ['RANK']}]: {error}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``redheart``. Returns the exit code: 2 for what a user typed or gave, others as in ``errors``."""
    arguments = parse_arguments(argv)
    try:
        code = run(arguments)
        sys.stdout.flush()
    except RedHeartError as error:
        if getattr(arguments, "debug", False):
            import traceback

            traceback.print_exc()
        _report(arguments.command, error)
        if isinstance(error, UsageError):
            from redheart.messages import forget_new_log

            forget_new_log()  # what was refused leaves nothing behind
        return error.exit_code
    except KeyboardInterrupt:
        print(f"redheart {arguments.command}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`; Python flushes once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return code


if __name__ == "__main__":
    sys.exit(main())
