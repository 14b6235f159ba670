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
from redheart.errors import RedHeartError


def _overrides(arguments: Namespace) -> list[str | tuple[str, Any]]:
    """The dotted overrides as typed, then what the options mean."""
    found: list[str | tuple[str, Any]] = list(arguments.overrides)
    for option, key in (
        ("output", "output"),
        ("seed", "seed"),
        ("data", "data.path"),
        ("preset", "model.preset"),
        ("epochs", "training.epochs"),
        ("lr", "training.learning_rate"),
        ("workers", "sweep.workers"),
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
    from redheart.messages import set_language, set_up_logging

    # DeepSpeed calls torch.distributed by names that newer versions of torch deprecate: nothing a user can act on.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed\..*")
    chosen = arguments.lang or os.environ.get("REDHEART_LANG") or "ko"
    if chosen not in ("ko", "en"):
        from redheart.errors import UsageError

        raise UsageError(f"REDHEART_LANG: found '{chosen}', wanted 'ko' or 'en'")
    set_language(chosen)
    os.environ["REDHEART_LANG"] = chosen  # worker processes speak the same language
    if arguments.command == "params":
        from redheart.cli.commands import show_parameters

        return show_parameters(arguments)

    from redheart.config import load_config

    config = load_config(Path(arguments.config) if arguments.config else None, _overrides(arguments))
    starts_nothing = arguments.command == "doctor" or getattr(arguments, "mode", "") == "validate"
    set_up_logging(
        verbose=arguments.verbose,
        debug=arguments.debug,
        file=None if starts_nothing else Path(config.output) / "redheart.log",
        quiet=not _is_first_process(),
    )
    from redheart.cli import commands

    return commands.COMMANDS[arguments.command](arguments, config)


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``redheart``. Returns the exit code: 2 for what a user typed or gave, others as in ``errors``."""
    arguments = parse_arguments(argv)
    try:
        return run(arguments)
    except RedHeartError as error:
        if getattr(arguments, "debug", False):
            import traceback

            traceback.print_exc()
        if _is_first_process():
            print(f"redheart {arguments.command}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"redheart {arguments.command}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`
        sys.stderr.close()
        return 141


if __name__ == "__main__":
    sys.exit(main())
