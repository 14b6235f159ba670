"""A command: what can be typed after its name, what it does, and what it needs around it."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING

from redheart.cli.argument_parser import Parser
from redheart.cli.arguments import common_options

if TYPE_CHECKING:
    from redheart.config import Config

#: A setting among what was typed after a command's options.
OVERRIDE = re.compile(r"[^\W\d][\w.]*=.*", re.DOTALL)
#: The same where other text may hold an equals sign too: with a section's dot before it.
OVERRIDE_IN_TEXT = re.compile(r"[a-z_]+(\.[a-z_]+)+=.*", re.DOTALL)


def _nothing_to_settle(parser: Parser, arguments: Namespace, rest: list[str]) -> None:
    pass


class Command:
    """One command of ``redheart``. ``--help`` makes all of them, so whatever loads torch or numpy is imported by ``run``.

    Attributes:
        help: one sentence.
        run: does it; its exit code. Errors that a user can act on are raised as ``RedHeartError``.
        add_options: adds its options to its parser.
        settle: after parsing, for what argparse can't tell apart; ``rest`` is what was not recognised, changed in place.
        takes_settings: it has a configuration: ``--config`` and ``KEY=VALUE``. Without one ``run`` gets the defaults.
        is_alone: it writes a run's files, and is alone in the output folder while it does. Sweeping and embedding are made
            for several at a time.
        trains: a learning rate and a preset are resolved for it.
        writes_run: as it was typed, it writes a run's files; left out, one that ``is_alone`` does.
        starts_nothing: as it was typed, it only looks, or writes elsewhere than in the output folder: it has no log file there and
            needs not be alone.
    """

    def __init__(
        self,
        *,
        name: str,
        help: str,
        run: Callable[[Namespace, Config], int],
        add_options: Callable[[Parser], None] = common_options,
        settle: Callable[[Parser, Namespace, list[str]], None] = _nothing_to_settle,
        takes_settings: bool = True,
        is_alone: bool = False,
        trains: bool = False,
        writes_run: Callable[[Namespace], bool] | None = None,
        starts_nothing: Callable[[Namespace], bool] = lambda arguments: False,
    ) -> None:
        # By hand: a dataclass writes its methods when it is imported, and --help waits for that.
        self.name, self.help, self.run = name, help, run
        self.add_options, self.settle = add_options, settle
        self.takes_settings, self.is_alone, self.trains = takes_settings, is_alone, trains
        self.writes_run = writes_run or (lambda arguments: is_alone)
        self.starts_nothing = starts_nothing
