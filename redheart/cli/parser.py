"""What can be typed. Importing this imports neither torch nor numpy, so ``--help`` answers at once."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import redheart
from redheart.tasks import GROUPS

_OVERRIDES_HELP = "settings as KEY=VALUE, such as training.epochs=3 (see docs/configuration.md)"
_OVERRIDE = re.compile(r"[^\W\d][\w.]*=.*", re.DOTALL)
_SETTING = re.compile(r"[a-z_]+(\.[a-z_]+)+=.*", re.DOTALL)
_UNKNOWN_COMMAND = re.compile(r"argument COMMAND: invalid choice: '(.*?)' \(")
#: Commands without a configuration.
_WITHOUT_SETTINGS = {"params"}


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, with the nearest known option, and exits with 2."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})  # `--sample` must not pass for `--samples`

    def error(self, message: str) -> NoReturn:
        if message == "argument --lr: expected one argument":  # --lr $(cat …) where there is nothing to read
            message += ", such as 5.6e-05 (is lr_sweep_results/optimal_lr.json there?)"
        elif unknown := _UNKNOWN_COMMAND.match(message):
            near = difflib.get_close_matches(unknown[1], self.commands(), n=1, cutoff=0.5)
            known = f"did you mean '{near[0]}'?" if near else f"wanted one of {', '.join(self.commands())}"
            message = f"unknown command '{unknown[1]}'; {known}"
        self.refuse(message)

    def refuse(self, message: str) -> NoReturn:
        """Ends the program.

        Raises:
            SystemExit: 2.
        """
        print(f"{self.prog}: {message}", file=sys.stderr)
        raise SystemExit(2)

    def commands(self) -> dict[str, Parser]:
        """The parsers of the commands, by name."""
        return {
            name: parser
            for action in self._actions
            if isinstance(action, argparse._SubParsersAction)
            for name, parser in action.choices.items()
        }

    def options(self) -> list[str]:
        """Every option that can be typed after this parser's name."""
        return [option for action in self._actions for option in action.option_strings]

    def refuse_unknown(self, command: str, word: str) -> NoReturn:
        """Says what ``word`` may have been meant to be.

        Raises:
            SystemExit: 2.
        """
        parsers = self.commands()
        parser, option = parsers[command], word.partition("=")[0]
        elsewhere = [f"{self.prog} {name}" for name, other in parsers.items() if option in other.options()]
        near = difflib.get_close_matches(option, parser.options(), n=1, cutoff=0.6)
        if elsewhere:
            what = f"'{option}' is an option of {', '.join(elsewhere)} only"
        elif not word.startswith("-"):
            what = f"unexpected '{word}'"
        else:
            what = f"unknown option '{word}'"
        parser.refuse(what + (f"; did you mean '{near[0]}'?" if near else "; see --help"))


def _positive(value: str) -> int:
    try:
        number = int(value)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"found '{value}', wanted a whole number of at least 1")
    return number


def _several(value: str) -> int:
    number = _positive(value)
    if number < 2:
        raise argparse.ArgumentTypeError("found '1', wanted at least 2: a spread needs two")
    return number


def _groups(value: str) -> tuple[str, ...]:
    known = (*GROUPS, "radial", "paths", "linear")
    groups = tuple(word.strip() for word in value.split(","))
    for group in groups:
        if group not in known:
            raise argparse.ArgumentTypeError(f"found '{group}', wanted some of {','.join(known)}")
    return groups


def _rate(value: str) -> float:
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


def _common(parser: argparse.ArgumentParser, *, overrides: bool = True) -> None:
    group = parser.add_argument_group("common options")
    group.add_argument("--data", metavar="FILE", help="the dataset: a JSON array or JSON Lines of situations")
    group.add_argument("--seed", type=int, metavar="N", help="seed of weights, order and dropout (default: 0)")
    group.add_argument("--force", action="store_true", help="do again what was done before with the same inputs")
    _shared(group)
    if overrides:
        parser.epilog = f"Besides options: {_OVERRIDES_HELP}."


def _shared(group: argparse._ArgumentGroup) -> None:
    """What makes sense for a command without a dataset too."""
    group.add_argument("--config", metavar="FILE", help="a YAML file of settings")
    group.add_argument(
        "--print-config",
        action="store_true",
        help="print the settings, resolved, as YAML for --config, each with where it comes from; start nothing",
    )
    group.add_argument("--output", metavar="FOLDER", help="where everything is written (default: training)")
    group.add_argument("--preset", choices=("auto", "tiny", "small", "730m"), help="size of the model (default: auto)")
    group.add_argument("--lang", choices=("ko", "en"), help="language of messages (default: $REDHEART_LANG, else ko)")
    group.add_argument("--verbose", action="store_true", help="each line with its time")
    group.add_argument("--debug", action="store_true", help="notes for developers too, and tracebacks of errors")


def _training_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--epochs", type=_positive, metavar="N", help="epochs of the main training (default: 60)")
    parser.add_argument("--lr", type=_rate, metavar="RATE", help="peak learning rate (default: the sweep's choice)")
    parser.add_argument(
        "--no-param-update", action="store_true", help="dry run: forward and backward, no optimizer step"
    )
    parser.add_argument("--strict", action="store_true", help="stop when a tensor or module does not train")


def build_parser() -> Parser:
    """The whole command line."""
    parser = Parser(
        prog="redheart",
        description="Trains a multi-module model of moral situations and says honestly what it learned.",
        epilog="Each command reads files and writes files, can be run alone, repeated and resumed.",
    )
    parser.add_argument("--version", action="version", version=f"redheart {redheart.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    commands.required = True

    def add(name: str, text: str) -> Parser:
        made: Parser = commands.add_parser(name, help=text, description=text)
        return made

    embed = add("embed", "Turn the dataset's texts into vectors, once; what is there already is kept.")
    embed.add_argument("--inline", action="store_true", help="write vectors into the JSON as lists")
    _common(embed)

    sweep = add("sweep", "Find a learning rate: 5 stages of 5 trials, in parallel.")
    sweep.add_argument("--workers", type=_positive, metavar="N", help="trials at a time")
    sweep.add_argument("--rebuild", action="store_true", help="only rebuild the cumulative file from the trial files")
    _common(sweep)

    train = add("train", "Train the model; goes on where an interrupted run of the same settings stopped.")
    _training_options(train)
    _common(train)

    consolidate = add("consolidate", "Make one whole model of the newest resume state, sharded or not.")
    consolidate.add_argument("--to", metavar="FOLDER", help="the folder to write (default: OUTPUT/consolidated)")
    _common(consolidate)

    _common(add("analyze", "Find each module's best epoch by five techniques."))
    _common(add("crossover", "Combine the chosen epochs and compare with the plain alternatives."))

    evaluate = add("evaluate", "Score a checkpoint on a split, beside the constant predictor and a simple baseline.")
    evaluate.add_argument(
        "--checkpoint",
        metavar="PATH",
        help="an epoch's folder, consolidated, best_model, crossover or crossover_final.pth (default: OUTPUT/best_model)",
    )
    evaluate.add_argument("--split", choices=("train", "choose", "judge", "test"), default="test", help="default: test")
    evaluate.add_argument("--json", action="store_true", help="print JSON instead of a table")
    _common(evaluate)

    predict = add("predict", "Say what a trained model predicts for a text: emotions, regret, Bentham, SURD, verdict.")
    predict.add_argument("words", nargs="*", metavar="TEXT", help="the text, in quotes; - reads standard input")
    predict.add_argument("--file", metavar="FILE", help=".txt: one text; .json, .jsonl: situations, as in a dataset")
    predict.add_argument("--title", metavar="TITLE", help="the text's title")
    predict.add_argument("--action", metavar="ACTION", help="the act in question")
    predict.add_argument(
        "--checkpoint", metavar="PATH", help="whatever `redheart evaluate` takes (default: OUTPUT/best_model)"
    )
    predict.add_argument("--json", action="store_true", help="print one JSON object a text instead of a table")
    _shared(predict.add_argument_group("common options"))
    predict.epilog = f"Writes nothing. Besides options: {_OVERRIDES_HELP}."

    export = add("export", "Write a checkpoint as one folder for others: weights, configuration, model card.")
    export.add_argument("--checkpoint", metavar="FOLDER", help="default: OUTPUT/best_model")
    export.add_argument("--to", metavar="FOLDER", required=True, help="a new folder, or an earlier export")
    _common(export)

    ablate = add("ablate", "Train the model without each of its parts in turn, and say what each is worth.")
    ablate.add_argument("--seeds", type=_several, metavar="N", help="trainings of each variant (default: 5)")
    ablate.add_argument(
        "--groups", type=_groups, metavar="A,B", help="only these groups, 'radial', 'paths' and 'linear' (default: all)"
    )
    ablate.add_argument("--epochs", type=_positive, metavar="N", help="epochs a training (default: those of a trial)")
    ablate.add_argument("--lr", type=_rate, metavar="RATE", help="learning rate of all (default: the sweep's choice)")
    ablate.add_argument("--workers", type=_positive, metavar="N", help="trainings at a time")
    ablate.add_argument("--json", action="store_true", help="print JSON instead of a table")
    _common(ablate)

    _common(add("report", "Write the report, the curves and their exports from what is there."))

    workflow = add("workflow", "Run all stages in order, as run_learning.sh does.")
    workflow.add_argument("mode", choices=("unified-test", "unified-train", "validate"))
    workflow.add_argument("--samples", type=_positive, metavar="N", help="at most N epochs")
    workflow.add_argument("--lr-sweep", action="store_true", help="find the learning rate first")
    _training_options(workflow)
    _common(workflow)

    params = add("params", "Count the parameters of a preset, without allocating them.")
    params.add_argument("--preset", choices=("tiny", "small", "730m"), default="730m")
    params.add_argument("--d-embed", type=_positive, default=384, metavar="N", help="width of the encoder's vectors")
    params.add_argument("--json", action="store_true", help="print JSON instead of a table")
    params.add_argument("--lang", choices=("ko", "en"))

    doctor = add("doctor", "Say what this machine offers and lacks; or examine the model: doctor liveness.")
    doctor.add_argument("what", nargs="?", metavar="liveness", help="does every parameter of the model train?")
    liveness = doctor.add_argument_group("options of doctor liveness")
    liveness.add_argument(
        "--batches", type=_positive, metavar="N", help="optimizer steps on real batches (default: 20)"
    )
    liveness.add_argument("--batch-size", type=_positive, metavar="N", help="situations a batch (default: 8)")
    liveness.add_argument("--lr", type=_rate, metavar="RATE", help="peak learning rate (default: 3e-4)")
    liveness.add_argument(
        "--check-gradients", action="store_true", help="float64 gradients against finite differences (preset tiny)"
    )
    liveness.add_argument("--json", action="store_true", help="print JSON instead of a table")
    _common(doctor)
    return parser


def _settle_doctor(parser: Parser, arguments: argparse.Namespace, rest: list[str]) -> None:
    """``doctor``'s one optional word may be a setting; and without ``liveness`` it has none of that one's options."""
    if arguments.what is not None and _OVERRIDE.fullmatch(arguments.what):
        rest.insert(0, arguments.what)
        arguments.what = "liveness" if "liveness" in rest else None
        rest[:] = [word for word in rest if word != "liveness"]
    if arguments.what not in (None, "liveness"):
        parser.refuse(f"unexpected '{arguments.what}'; wanted 'liveness' or nothing")
    given = [
        option
        for option in ("batches", "batch_size", "lr", "check_gradients", "json")
        if getattr(arguments, option) not in (None, False)
    ]
    if arguments.what is None and given:
        parser.refuse(f"'--{given[0].replace('_', '-')}' is an option of doctor liveness only")


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """What was typed; settings as ``KEY=VALUE`` may stand anywhere after the command and its mode and end up in ``overrides``, in order.

    Raises:
        SystemExit: 2, after one line that says what is wrong.
    """
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    if arguments.command == "doctor":
        _settle_doctor(parser.commands()["doctor"], arguments, rest)
    takes_settings = arguments.command not in _WITHOUT_SETTINGS
    if arguments.command == "predict":  # a text may hold an equals sign: a setting has a section's dot before it
        rest = [*(word for word in arguments.words if _SETTING.fullmatch(word)), *rest]
        arguments.words = [word for word in arguments.words if not _SETTING.fullmatch(word)]
    arguments.overrides = [word for word in rest if takes_settings and _OVERRIDE.fullmatch(word)]
    unknown = [word for word in rest if word not in arguments.overrides]
    if unknown:
        parser.refuse_unknown(arguments.command, unknown[0])
    return arguments
