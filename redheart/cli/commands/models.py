"""The commands for a trained model: made whole, scored, asked, and written for others."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from redheart.cli.argument_parser import Parser
from redheart.cli.arguments import OVERRIDES_HELP, common_options, filled, options_without_dataset
from redheart.cli.command import OVERRIDE, OVERRIDE_IN_TEXT, Command
from redheart.cli.signals import stop_requested
from redheart.cli.terminal import print_json, show, typed
from redheart.paths import OutputPaths

if TYPE_CHECKING:
    from redheart.config import Config


def _consolidate(arguments: Namespace, config: Config) -> int:
    from redheart.workflow.consolidate import consolidate, convert_checkpoint

    target = Path(arguments.to) if arguments.to else None
    with stop_requested() as should_stop:
        if arguments.source is None:
            written = consolidate(Path(config.output), target, dtype=arguments.dtype, should_stop=should_stop)
        else:
            assert target is not None
            written = convert_checkpoint(
                Path(arguments.source),
                target,
                dtype=arguments.dtype,
                facts_from=Path(arguments.facts_from) if arguments.facts_from else None,
                should_stop=should_stop,
            )
    show(written)
    return 0


def _consolidate_options(parser: Parser) -> None:
    parser.add_argument(
        "source",
        nargs="?",
        type=filled,
        metavar="SOURCE",
        help="an epoch's folder, best_model, an export, crossover_final.pth, a resume state, a checkpoint folder of DeepSpeed's, a "
        ".pth or safetensors (default: the newest resume state in OUTPUT)",
    )
    parser.add_argument(
        "--to",
        type=filled,
        metavar="TARGET",
        help="a folder to write, or a file that ends in .safetensors or .pth (default, without SOURCE: OUTPUT/consolidated)",
    )
    parser.add_argument(
        "--dtype", choices=("fp32", "bf16"), help="of floating-point numbers (default: each tensor's own)"
    )
    parser.add_argument(
        "--facts-from",
        type=filled,
        metavar="CHECKPOINT",
        help="a checkpoint of the same model: what it says of shape and data is written beside SOURCE's weights",
    )
    common_options(parser, skips=False)


def _settle_consolidate(parser: Parser, arguments: Namespace, rest: list[str]) -> None:
    """A setting stands where a checkpoint may, and a checkpoint behind options is left over by argparse."""
    if arguments.source is not None and OVERRIDE.fullmatch(arguments.source) and not Path(arguments.source).exists():
        rest.insert(0, arguments.source)
        arguments.source = None
    if arguments.source is None:
        names = [word for word in rest if not word.startswith("-") and not OVERRIDE.fullmatch(word)]
        if names:
            rest.remove(names[0])
            arguments.source = names[0]
    if arguments.source is not None and arguments.to is None:
        parser.refuse("found SOURCE and no --to; wanted a folder to write, or a file that ends in .safetensors or .pth")
    if arguments.source is None and arguments.facts_from is not None:
        parser.refuse("found --facts-from and no SOURCE: a resume state has facts of its own")


CONSOLIDATE = Command(
    name="consolidate",
    help="Make one whole model of the newest resume state, or of any checkpoint, sharded or not.",
    run=_consolidate,
    add_options=_consolidate_options,
    settle=_settle_consolidate,
    is_alone=True,
    starts_nothing=lambda arguments: arguments.source is not None,
)


def _evaluate(arguments: Namespace, config: Config) -> int:
    import msgspec

    from redheart.checkpoint.restore import embedding_settings, open_model
    from redheart.workflow import datasets, stages
    from redheart.workflow.evaluate import evaluate
    from redheart.workflow.scores import as_json, as_table

    with stop_requested() as should_stop:
        restored = open_model(Path(arguments.checkpoint) if arguments.checkpoint else stages.delivered_model(config))
        config = msgspec.structs.replace(config, embedding=embedding_settings(restored.manifest, config.embedding))
        if config.data.path is not None:
            dataset = datasets.embed(config, should_stop=should_stop)
        else:
            datasets.check_dataset_of_run(config)
            dataset = datasets.open_dataset_of_run(config, should_stop=should_stop)
        scored = evaluate(config, dataset, restored, arguments.split, should_stop=should_stop)
    if arguments.json:
        print_json(as_json(scored))
    else:
        show(as_table(scored))
    return 0


def _evaluate_options(parser: Parser) -> None:
    parser.add_argument(
        "--checkpoint",
        type=filled,
        metavar="PATH",
        help="an epoch's folder, consolidated, best_model, crossover or crossover_final.pth (default: OUTPUT/best_model)",
    )
    parser.add_argument("--split", choices=("train", "choose", "judge", "test"), default="test", help="default: test")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    common_options(parser, skips=False)


EVALUATE = Command(
    name="evaluate",
    help="Score a checkpoint on a split, beside the constant predictor and a simple baseline.",
    run=_evaluate,
    add_options=_evaluate_options,
)


def _predict(arguments: Namespace, config: Config) -> int:
    from redheart.prediction.inputs import read_inputs

    file = Path(arguments.file) if arguments.file else None
    # Before anything is loaded, and before a signal only sets a flag: reading standard input may wait for long.
    situations = read_inputs(arguments.words, file, title=arguments.title, action=arguments.action)
    from redheart.checkpoint.restore import check_preset, open_model
    from redheart.messages import text
    from redheart.prediction.formatting import as_json, as_table
    from redheart.prediction.predictor import Predictor
    from redheart.workflow import stages

    with stop_requested() as should_stop:
        restored = open_model(Path(arguments.checkpoint) if arguments.checkpoint else stages.delivered_model(config))
        check_preset(restored.manifest, restored.path, config.model.preset)
        predictor = Predictor(restored, config.embedding)
        blank = ""
        for predictions in predictor.predict(situations, should_stop=should_stop):
            for one in predictions:
                if arguments.json:
                    print_json(as_json(one))
                    continue
                show(f"{blank}{as_table(one, restored.manifest.selection)}")
                blank = "\n\n"
    if not arguments.json and restored.manifest.selection is not None:
        show(text("prediction.predict_legend"))
    return 0


def _predict_options(parser: Parser) -> None:
    parser.add_argument("words", nargs="*", metavar="TEXT", help="the text, in quotes; - reads standard input")
    parser.add_argument(
        "--file", type=filled, metavar="FILE", help=".txt: one text; .json, .jsonl: situations, as in a dataset"
    )
    parser.add_argument("--title", metavar="TITLE", help="the text's title")
    parser.add_argument("--action", metavar="ACTION", help="the act in question")
    parser.add_argument(
        "--checkpoint",
        type=filled,
        metavar="PATH",
        help="whatever `redheart evaluate` takes (default: OUTPUT/best_model)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per text instead of a table")
    options_without_dataset(parser.add_argument_group("common options"))
    parser.epilog = f"Writes nothing. Besides options: {OVERRIDES_HELP}."


def _settle_predict(parser: Parser, arguments: Namespace, rest: list[str]) -> None:
    """A text may hold an equals sign: a setting has a section's dot before it. Texts are read as UTF-8 whatever the locale."""
    rest[:0] = [word for word in arguments.words if OVERRIDE_IN_TEXT.fullmatch(word)]
    arguments.words = [word for word in arguments.words if not OVERRIDE_IN_TEXT.fullmatch(word)]
    try:
        arguments.words = [typed(word) for word in arguments.words]
        arguments.title, arguments.action = (
            None if given is None else typed(given) for given in (arguments.title, arguments.action)
        )
    except ValueError:
        parser.refuse("found a text that is not UTF-8; wanted UTF-8, typed or as a --file")


PREDICT = Command(
    name="predict",
    help="Say what a trained model predicts for a text: emotions, regret, Bentham, SURD, verdict.",
    run=_predict,
    add_options=_predict_options,
    settle=_settle_predict,
    starts_nothing=lambda arguments: True,
)


def _export(arguments: Namespace, config: Config) -> int:
    from redheart.workflow import stages
    from redheart.workflow.export import export

    checkpoint = Path(arguments.checkpoint) if arguments.checkpoint else stages.delivered_model(config)
    show(export(checkpoint, Path(arguments.to)))
    return 0


def _export_options(parser: Parser) -> None:
    parser.add_argument(
        "--checkpoint", type=filled, metavar="FOLDER", help=f"default: OUTPUT/{OutputPaths.best_model.name}"
    )
    parser.add_argument("--to", type=filled, metavar="FOLDER", required=True, help="a new folder, or an earlier export")
    common_options(parser, skips=False)


EXPORT = Command(
    name="export",
    help="Write a checkpoint as one folder for others: weights, configuration, model card.",
    run=_export,
    add_options=_export_options,
)
