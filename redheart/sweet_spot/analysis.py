"""The stage ``analyze``: reads the records, asks each technique about each module, writes the result."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

import msgspec

from redheart.checkpoint import EpochCheckpoint, list_epochs
from redheart.config.schema import SweetSpotConfig
from redheart.errors import Interrupted, StorageError
from redheart.messages import debug, info, text, warn
from redheart.paths import OutputPaths
from redheart.progress import Progress
from redheart.storage import fingerprint, sha256_of, write_text
from redheart.sweet_spot import voting
from redheart.sweet_spot.choice import (
    FORMAT,
    Choice,
    Reason,
    SweetSpotAnalysis,
    load_analysis,
    save_analysis,
)
from redheart.sweet_spot.curves import History, read_history
from redheart.sweet_spot.report import heading, write_report
from redheart.training.records import read_records

__all__ = ["analyze", "choose_epochs", "identity", "load_analysis", "render_again", "thinned_epochs"]


def identity(metrics_file: Path, config: SweetSpotConfig, thinned: Mapping[str, Collection[int]] | None = None) -> str:
    """What an analysis depends on, as one hash: equal to a stored ``.inputs``, that analysis is up to date.

    Args:
        thinned: by module the epochs whose weights were given up; see ``thinned_epochs``.

    Raises:
        OSError: the file can't be read.
    """
    of = {"format": FORMAT, "metrics": sha256_of(metrics_file), "config": msgspec.to_builtins(config)}
    return fingerprint(
        {**of, "thinned": {module: sorted(epochs) for module, epochs in thinned.items()}} if thinned else of
    )


def thinned_epochs(checkpoints: Iterable[EpochCheckpoint]) -> dict[str, list[int]]:
    """By module the epochs whose weights were given up; modules without any are left out."""
    found: dict[str, list[int]] = {}
    for one in checkpoints:
        for module in one.manifest.thinned:
            found.setdefault(module, []).append(one.epoch)
    return found


def _stop_if(should_stop: Callable[[], bool]) -> None:
    if should_stop():
        raise Interrupted("the analysis was stopped, and an earlier one is intact; the same command does it again")


def choose_epochs(
    history: History,
    config: SweetSpotConfig,
    *,
    thinned: Mapping[str, Collection[int]] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Choice]:
    """The best epoch of each module, by five techniques; writes nothing.

    Args:
        thinned: by module the epochs that are looked at and can't be chosen.

    Raises:
        StorageError: of a module no epoch can be chosen.
        Interrupted: ``should_stop``, asked before each technique, said so.
    """
    votes = voting.cast_votes(history.curves, config, before_each=lambda: _stop_if(should_stop))
    return voting.choose(history.curves, votes, kept=_kept(history, thinned) if thinned else None)


def _kept(history: History, thinned: Mapping[str, Collection[int]]) -> dict[str, list[int]]:
    kept = {}
    for module, curve in history.curves.items():
        gone = thinned.get(module, ())
        kept[module] = [int(epoch) for epoch in curve.epochs if int(epoch) not in gone]
        if not kept[module]:
            raise StorageError(
                f"module {module!r}: of none of the epochs {', '.join(map(str, curve.epochs))} its weights are kept; put an epoch "
                "back from a copy, or train anew with training.keep_epochs=all"
            )
    return kept


def _to_choose_from(metrics_file: Path, output: Path, saved: Collection[int]) -> set[int] | None:
    """The epochs with a record and a checkpoint, warning of those that lack one; None where there is no checkpoint at all.

    Args:
        saved: epochs with a checkpoint.
    """
    saved = set(saved)
    recorded = set(read_records(metrics_file).epochs)
    if not saved & recorded:
        return None
    paths = OutputPaths(output)
    for key, path, lost in (
        ("sweet_spot.no_checkpoint", paths.checkpoints, recorded - saved),
        ("sweet_spot.no_record", metrics_file, saved - recorded),
    ):
        if lost:
            warn(key, path=path, epochs=", ".join(map(str, sorted(lost))), command=paths.training_command)
    return saved & recorded


def render_again(metrics_file: Path, output: Path) -> None:
    """Writes the readable report of a stored analysis in the language of this process, where it is in another or not there.

    The numbers stay what they are. An analysis or records that can't be read are left to those who need them.

    Raises:
        StorageError: it could not be written; the earlier one is intact.
    """
    path = OutputPaths(output).analysis_text
    if _is_in_this_language(path):
        return
    try:
        analysis = load_analysis(output)
        rendered = write_report(analysis, read_history(metrics_file, among=analysis.epochs))
    except (StorageError, KeyError) as error:  # KeyError: a sentence of another version
        debug(f"{path}: not rendered again: {error}")
        return
    write_text(path, rendered)
    info("sweet_spot.done", path=path)


def _is_in_this_language(path: Path) -> bool:
    """By its title; that of an earlier version, whose sentences were others, stays as it is."""
    try:
        with path.open(encoding="utf-8") as report:
            return report.readline().rstrip("\n") == heading()
    except (OSError, UnicodeDecodeError):
        return False


def analyze(
    metrics_file: Path,
    output: Path,
    config: SweetSpotConfig,
    *,
    plots: bool = True,
    should_stop: Callable[[], bool] = lambda: False,
) -> SweetSpotAnalysis:
    """Finds the best epoch of each module and writes ``sweet_spot_analysis/`` under ``output``.

    After a dry run, or where no weight ever moved, it says so and chooses nothing: ``.choices`` is None.

    Args:
        metrics_file: ``metrics.jsonl`` of the training.
        output: the run's output root.
        config: level of the tests and weights of the decision analysis.
        plots: draw the PNGs too.
        should_stop: asked between techniques and between plots.

    Raises:
        Interrupted: ``should_stop`` said so; an earlier analysis is intact.
        StorageError: the records are missing or damaged (names line, field and module), or a file can't be written.
    """
    checkpoints = list_epochs(output)
    thinned = thinned_epochs(checkpoints)
    history = read_history(
        metrics_file, among=_to_choose_from(metrics_file, output, [one.epoch for one in checkpoints])
    )
    epochs = tuple(int(epoch) for epoch in history.epochs)
    nothing_to_choose = history.dry_run or not history.weights_changed
    info("sweet_spot.start", epochs=len(epochs), modules=len(history.curves))
    if nothing_to_choose:
        explanation = Reason("sweet_spot.dry_run" if history.dry_run else "sweet_spot.never_changed", {})
        warn(explanation.key)
    else:
        few = len(epochs) < 8
        explanation = Reason("sweet_spot.chosen_few" if few else "sweet_spot.chosen", {"epochs": len(epochs)})
    analysis = SweetSpotAnalysis(
        choices=None if nothing_to_choose else choose_epochs(history, config, thinned=thinned, should_stop=should_stop),
        dry_run=history.dry_run,
        weights_changed=history.weights_changed,
        epochs=epochs,
        explanation=explanation,
        inputs=identity(metrics_file, config, thinned),
        settings=msgspec.to_builtins(config),
    )
    paths = OutputPaths(output)
    if plots:
        from redheart.sweet_spot.plots import draw_module, draw_overview

        curves = Progress(text("progress.plots"), len(history.curves), unit="plot").over(history.curves.items())
        for module, curve in curves:
            _stop_if(should_stop)
            draw_module(
                paths.sweet_spots / f"{module}.png", curve, analysis.choices[module] if analysis.choices else None
            )
        draw_overview(paths.sweet_spots / "overview.png", history.epochs, analysis.choices)
    _stop_if(should_stop)
    write_text(paths.analysis_text, write_report(analysis, history))
    # Last, because it is what other stages look for: if it is there, the rest is too.
    save_analysis(output, analysis)
    _tell(analysis.choices or {})
    info("sweet_spot.done", path=paths.analysis_text)
    return analysis


def _tell(choices: Mapping[str, Choice]) -> None:
    for module, choice in choices.items():
        info("sweet_spot.module", module=module, epoch=choice.epoch, confidence=choice.confidence)
    gone = [f"{module} {choice.not_kept}" for module, choice in choices.items() if choice.not_kept is not None]
    if gone:
        warn("sweet_spot.not_kept", count=len(gone), wanted=", ".join(gone))
