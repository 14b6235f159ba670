"""The command ``checkpoints``: what a run's folder holds of weights, whether it is whole, and the removal of what is not needed."""

from __future__ import annotations

import contextlib
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from redheart.cli.argument_parser import Parser
from redheart.cli.arguments import OVERRIDES_HELP, options_without_dataset
from redheart.cli.command import OVERRIDE, Command
from redheart.cli.terminal import print_struct, show

if TYPE_CHECKING:
    from redheart.config import Config

#: Options of one of the three alone.
_OF_RM = ("resume_states", "force", "dry_run")


def _checkpoints(arguments: Namespace, config: Config) -> int:
    from redheart.inspection.checkpoints import check_is_there

    output = Path(config.output)
    check_is_there(output)  # before anything is made there, a lock for one
    return {"ls": _list, "verify": _verify, "rm": _remove}[arguments.what](arguments, output)


def _list(arguments: Namespace, output: Path) -> int:
    from redheart.inspection.checkpoint_table import Listing, as_table
    from redheart.inspection.checkpoints import stored_checkpoints
    from redheart.inspection.references import read_references

    references = read_references(output)
    found = [one.facts for one in stored_checkpoints(output, references)]
    total = sum(one.bytes for one in found)
    listing = Listing(output=str(output), bytes=total, checkpoints=found, faults=references.faults)
    if arguments.json:
        print_struct(listing)
    else:
        show(as_table(listing))
    return 0


def _verify(arguments: Namespace, output: Path) -> int:
    from redheart.errors import StorageError
    from redheart.inspection.checkpoint_table import Verification, Verified, cure_of, verified_line
    from redheart.inspection.checkpoints import damage, stored_checkpoints
    from redheart.inspection.integrity import is_closed
    from redheart.inspection.references import read_references
    from redheart.messages import text
    from redheart.progress import Progress

    stored = stored_checkpoints(output, read_references(output))
    damaged, told, unreadable = [], [], False
    total = sum(one.facts.bytes for one in stored)
    with Progress(text("inspection.verifying"), total, unit="B", is_brief=True) as progress:
        for one in stored:
            faults = damage(one, progress.update)
            if faults:
                damaged.append(one.facts.name)
            unreadable = unreadable or is_closed(faults)
            cure = cure_of(one.facts, faults) if faults else None
            told.append(Verified(name=one.facts.name, path=one.facts.path, faults=faults, cure=cure))
            if not arguments.json:
                show(verified_line(one.facts, faults))
    if arguments.json:
        print_struct(Verification(output=str(output), checkpoints=told))
    if damaged:
        are = "damaged" if not unreadable else "damaged, or may not be read by this user"
        raise StorageError(f"{output}: {len(damaged)} of {len(stored)} checkpoints are {are}: {', '.join(damaged)}")
    return 0


def _remove(arguments: Namespace, output: Path) -> int:
    from redheart.inspection.references import lost_epochs
    from redheart.inspection.removal import check_may_go, plan_removal, remove
    from redheart.inspection.sizes import shown_size
    from redheart.messages import text, warn
    from redheart.paths import OutputPaths
    from redheart.workflow.lock import sole_user

    with contextlib.nullcontext() if arguments.dry_run else sole_user(output):
        plan = plan_removal(output, arguments.named, states=arguments.resume_states)
        freed = sum(one.bytes for one in plan)
        if not arguments.dry_run:
            if not arguments.force:
                check_may_go(plan)
            remove(output, plan)
        for one in plan:
            key = "inspection.would_remove" if arguments.dry_run else "inspection.removing"
            show(text(key, name=one.path.relative_to(output), size=shown_size(one.bytes)))
            if arguments.dry_run and one.reasons and not arguments.force:
                show(text("inspection.kept_for", why="; ".join(one.reasons)))
        key = "inspection.would_free" if arguments.dry_run else "inspection.freed"
        show(text(key, size=shown_size(freed), bytes=freed))
        if not arguments.dry_run and (any(one.epoch for one in plan) or lost_epochs(output)):
            warn("inspection.no_longer_whole", train=OutputPaths(output).training_command)
    return 0


def _options(parser: Parser) -> None:
    parser.add_argument("what", choices=("ls", "verify", "rm"), help="list them; compare all hashes; remove some")
    parser.add_argument("named", nargs="*", default=[], metavar="EPOCH", help="of rm: 3, a range such as 3-7, or start")
    parser.add_argument("--json", action="store_true", help="of ls and verify: print JSON instead of lines")
    removal = parser.add_argument_group("options of checkpoints rm")
    removal.add_argument("--resume-states", action="store_true", help="the states that training goes on from, too")
    removal.add_argument("--force", action="store_true", help="what is used or needed, too")
    removal.add_argument("--dry-run", action="store_true", help="only say what would go, and how much that frees")
    options_without_dataset(parser.add_argument_group("common options"))
    parser.epilog = f"The run is the one in --output. Besides options: {OVERRIDES_HELP}."


def _settle(parser: Parser, arguments: Namespace, rest: list[str]) -> None:
    """Epochs may stand behind options, and settings among them; each of the three has options of its own."""
    rest[:0] = [word for word in arguments.named if OVERRIDE.fullmatch(word)]
    arguments.named = [word for word in arguments.named if not OVERRIDE.fullmatch(word)]
    if arguments.what == "rm":
        _settle_rm(parser, arguments, rest)
        return
    if arguments.named:
        parser.refuse(f"unexpected '{arguments.named[0]}': epochs are named for checkpoints rm only")
    for option in _OF_RM:
        if getattr(arguments, option):
            parser.refuse(f"'--{option.replace('_', '-')}' is an option of checkpoints rm only")


def _settle_rm(parser: Parser, arguments: Namespace, rest: list[str]) -> None:
    arguments.named += [word for word in rest if word[:1].isdigit() or word == "start"]
    rest[:] = [word for word in rest if word not in arguments.named]
    if arguments.json:
        parser.refuse("'--json' is an option of checkpoints ls and verify only")
    if not arguments.named and not arguments.resume_states and not arguments.print_config:
        parser.refuse("found nothing to remove; wanted epochs, such as 3 or 3-7, or --resume-states")


CHECKPOINTS = Command(
    name="checkpoints",
    help="List the checkpoints of a run, compare them with their hashes, or remove some.",
    run=_checkpoints,
    add_options=_options,
    settle=_settle,
    # The removal holds the folder itself, once it is known to be one.
    starts_nothing=lambda arguments: True,
)
