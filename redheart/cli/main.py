"""The command line's entry: reads arguments and environment once; turns errors into one message and an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from redheart.cli.command import Command
from redheart.cli.commands import COMMANDS
from redheart.cli.options import overrides
from redheart.cli.output_folder import advice_for, begin_log
from redheart.cli.parser import parse_arguments
from redheart.cli.terminal import (
    flush_output,
    prepare_streams,
    say_that_korean_is_lacking,
    shows_korean,
    throw_output_away,
)
from redheart.engine.launch_variables import check_launch_variables, is_first_process, rank, world_size
from redheart.errors import Interrupted, MissingRequirement, RedHeartError, StorageError, UsageError
from redheart.launching.rank import exit_code_for_launcher, reported
from redheart.paths import OutputPaths

if TYPE_CHECKING:
    from redheart.config import Config


def _prepare_process(language_asked: str | None) -> None:
    """What holds for this process and those that it starts: threads, warnings, the language of messages.

    Raises:
        UsageError: there is no such language.
    """
    from redheart.messages import LANGUAGES, set_language

    # Read by GNU OpenMP when torch is loaded: waiting threads spin briefly, then sleep. Measured with `tiny` on 2 cores, in
    # situations/s: 300 on idle cores and 50 to 120 beside two other busy processes; spinning for long, as is the default
    # there, 320 and 20; always sleeping 150.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    # DeepSpeed calls torch.distributed by names that newer versions of torch deprecate: nothing a user can act on.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed\..*")
    asked = language_asked or os.environ.get("REDHEART_LANG") or ("ko" if shows_korean() else "en")
    chosen = next((language for language in LANGUAGES if language == asked), None)
    if chosen is None:
        raise UsageError(f"REDHEART_LANG: found '{asked}', wanted 'ko' or 'en'")
    if chosen == "ko" and not shows_korean():
        say_that_korean_is_lacking(is_typed=language_asked is not None)
        # A variable is set once for all terminals, an option for this command.
        chosen = "ko" if language_asked else "en"
    set_language(chosen)
    os.environ["REDHEART_LANG"] = chosen  # worker processes speak the same language


def _has_current_folder() -> bool:
    """Whether the current folder is still one, from which relative paths start."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _check_names(arguments: Namespace) -> None:
    """Refuses names that no file can have, before one of them is met in the midst of things."""
    from redheart.storage.names import check_can_be_a_folder, check_name

    for option in ("config", "data", "output", "checkpoint", "file", "to", "source", "facts_from"):
        named = getattr(arguments, option, None)
        if named:
            check_name(Path(named), "SOURCE" if option == "source" else f"--{option.replace('_', '-')}")
        if named and option == "to":
            check_can_be_a_folder(Path(named), "--to")


def _check_interpreter(command: Command) -> None:
    """Refuses a Python that leaves out what the libraries need, before one of them fails at it."""
    if command.takes_settings and sys.flags.optimize > 1:
        raise MissingRequirement(
            "this Python drops docstrings (PYTHONOPTIMIZE=2 or -OO), and the libraries for sentence encoders are made from "
            "theirs; unset PYTHONOPTIMIZE, or set it to 1"
        )


def run(arguments: Namespace) -> int:
    """Carries out a parsed command line."""
    _prepare_process(arguments.lang)
    from redheart.config import Config, load_settings
    from redheart.storage.names import check_can_be_a_folder, check_name

    command = COMMANDS[arguments.command]
    if not _has_current_folder():
        raise UsageError("the folder that this was started in is not there any more; wanted one: go to another (cd)")
    _check_interpreter(command)
    leaves_gpus_out = False
    if command.trains:
        from redheart.launching.launch_file import check_launch

        check_launch_variables()
        leaves_gpus_out = check_launch()
    _check_names(arguments)
    if not command.takes_settings:
        return command.run(arguments, Config())
    loaded = load_settings(Path(arguments.config) if arguments.config else None, overrides(arguments))
    if loaded.config.training.init_from is not None:
        from dataclasses import replace

        loaded = replace(loaded, config=_starting_from(loaded.config, trains=command.trains))
    output = Path(loaded.config.output)
    check_name(output, "output")  # as it may stand in a file of settings too
    check_can_be_a_folder(output, "output")
    if output.exists() and not output.is_dir():
        raise UsageError(f"{loaded.config.output}: is a file, wanted a folder for the output")
    if not arguments.print_config:
        return _run_command(command, arguments, loaded.config, leaves_gpus_out=leaves_gpus_out)
    from redheart.cli.print_config import print_settings

    if is_first_process():
        print_settings(arguments, loaded)
    return 0


def _starting_from(config: Config, *, trains: bool) -> Config:
    """With the preset of the checkpoint that training begins with, where none is asked for."""
    from redheart.storage.names import check_name
    from redheart.training.init_from import source_identity, with_preset_of_source

    path = Path(str(config.training.init_from))
    check_name(path, "training.init_from")
    if trains and not path.is_file():  # a file's hash takes a while
        source_identity(path)  # what is no source is refused before anything is embedded
    return with_preset_of_source(config)


def _run_command(command: Command, arguments: Namespace, config: Config, *, leaves_gpus_out: bool) -> int:
    """Runs the command, with a log and alone in its folder where it needs these."""
    from redheart.messages import info
    from redheart.progress import Progress

    starts_nothing = command.starts_nothing(arguments)
    output, log = Path(config.output), OutputPaths(config.output).log
    with advice_for(command, output, log):
        begin_log(command, arguments, None if starts_nothing else log)
    if leaves_gpus_out and is_first_process():
        info("launching.on_cpu")
    # The outermost of what takes long: whatever the command does, it is not silent.
    to = getattr(arguments, "to", None)
    aside = advice_for(command, Path(to), option="--to") if to else contextlib.nullcontext()
    with Progress(f"redheart {command.name}", is_shown=is_first_process()), advice_for(command, output), aside:
        if not command.is_alone or starts_nothing:
            return command.run(arguments, config)
        from redheart.workflow.lock import sole_user

        with sole_user(output):
            return command.run(arguments, config)


def _report(command: str, error: RedHeartError) -> None:
    """The message, once: from the first process, or from the only one of a group that has something to say."""
    try:
        speaks = is_first_process() or rank() >= world_size()
    except UsageError:  # the message may be that there is no telling
        speaks = True
    if speaks:
        print(f"redheart {command}: {error}", file=sys.stderr)
    elif not (error.is_refusal or isinstance(error, Interrupted)):  # those are the same in every process
        print(f"redheart {command} [process {rank()}]: {error}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``redheart``. Returns the exit code: 2 for what a user typed or gave, others as in ``errors``."""
    prepare_streams()
    try:
        return exit_code_for_launcher(_carry_out(_parsed(argv)))
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`
        throw_output_away()
        return 141


def _parsed(argv: Sequence[str] | None) -> Namespace:
    """What was typed; what ``--help`` prints is written before the program ends."""
    try:
        return parse_arguments(argv)
    except SystemExit:
        try:
            flush_output()
        except StorageError as error:
            print(f"redheart: {error}", file=sys.stderr)
            raise SystemExit(error.exit_code) from error
        raise


def _carry_out(arguments: Namespace) -> int:
    """``run``, with what a user can act on told in one message."""
    try:
        with reported():
            code = run(arguments)
            flush_output()
        return code
    except RedHeartError as error:
        if getattr(arguments, "debug", False):
            import traceback

            traceback.print_exc()
        _report(arguments.command, error)
        if error.is_refusal:
            from redheart.messages import forget_new_log

            forget_new_log()
        return error.exit_code
    except PermissionError as error:
        print(f"redheart {arguments.command}: {error.filename}: {error.strerror}", file=sys.stderr)
        return StorageError.exit_code
    except KeyboardInterrupt:
        print(f"redheart {arguments.command}: interrupted", file=sys.stderr)
        return 130
    except UnicodeEncodeError as error:
        encoding = sys.getfilesystemencoding()
        if encoding == "utf-8":
            raise
        print(
            f"redheart {arguments.command}: found {error.object!r}, which can't name a file where names are {encoding}; "
            "with PYTHONUTF8=1 they are UTF-8",
            file=sys.stderr,
        )
        return UsageError.exit_code
    except Exception as error:
        from redheart.cli.failed_import import what_failed_to_import

        if getattr(arguments, "debug", False) or (message := what_failed_to_import(error)) is None:
            raise
        print(f"redheart {arguments.command}: {message}", file=sys.stderr)
        return MissingRequirement.exit_code


if __name__ == "__main__":
    sys.exit(main())
