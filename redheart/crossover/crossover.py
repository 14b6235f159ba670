"""The stage ``crossover``: makes and scores the recipes, delivers one, and writes everything down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from redheart.baseline.sentences import standings
from redheart.batches.table import SituationTable
from redheart.batches.trained_on import leave_out_trained
from redheart.checkpoint import START_EPOCH, Manifest, save_streamed
from redheart.checkpoint.restore import build_dimensions, check_preset, check_same_model, check_vectors
from redheart.config import Config
from redheart.crossover.beside_baseline import BesideBaseline, beside_baseline, save_beside_baseline
from redheart.crossover.candidates import recipes_known_before, recipes_of
from redheart.crossover.controls import last_epoch
from redheart.crossover.decision import decide, explain
from redheart.crossover.evaluation import Scorer, stop_if, whole_state
from redheart.crossover.material import Material
from redheart.crossover.result import (
    Candidate,
    CrossoverResult,
    SoupIngredient,
    candidate_label,
    save_result,
)
from redheart.crossover.strategies import EpochFiles, Recipe
from redheart.data.splits import Split
from redheart.errors import StorageError
from redheart.facts.candidate import Score
from redheart.facts.model import Selection
from redheart.machine import inference_device
from redheart.messages import info, warn
from redheart.model.losses import served_loss
from redheart.paths import OutputPaths
from redheart.storage import replace_file
from redheart.sweet_spot import Choice, SweetSpotAnalysis
from redheart.tasks import MODULES
from redheart.training.records import read_records

if TYPE_CHECKING:
    import torch

COMBINED_FORMAT = 1
#: Where candidates are scored: to decide, and then to report.
SCORED: tuple[Split, ...] = ("judge", "test")


def recorded_choose_loss(metrics_file: Path, epochs: list[int]) -> dict[int, float]:
    """The served loss on ``choose`` that training recorded, for those of ``epochs`` that have a record.

    Raises:
        StorageError: the file is missing or damaged, a record lacks a term, or no epoch has both a record and a checkpoint.
    """
    records = read_records(metrics_file)
    losses: dict[int, float] = {}
    for epoch, record in records.epochs.items():
        if epoch in epochs:
            try:
                losses[epoch] = served_loss(record.choose.terms if record.choose else {})
            except KeyError as error:
                raise StorageError(f"{records.where(epoch)}: choose.terms: {error} is missing") from error
    if not losses:
        raise StorageError(f"{metrics_file}: holds no record of the epochs with a checkpoint, {epochs}")
    without = [epoch for epoch in epochs if epoch not in losses]
    if without:
        warn("crossover.unrecorded", epochs=", ".join(map(str, without)))
    return losses


def check_epochs(files: EpochFiles, table: SituationTable, preset: str) -> None:
    """Whether all epochs are of one model, of the preset that was asked for, trained on vectors such as the table's.

    Raises:
        ConfigError: they are not; naming both shapes.
        RedHeartError: the vectors are another encoder's.
    """
    last = files.epochs[-1]
    manifest, path = files.manifest(last), files.path(last)
    check_preset(manifest, path, preset)
    check_vectors(manifest, path, table.dataset)
    shape = build_dimensions(manifest, path)
    others = [epoch for epoch in files.all_epochs if epoch != last]
    for epoch in (*([START_EPOCH] if files.has_start else []), *others):
        check_same_model(files.manifest(epoch), files.path(epoch), shape, f"epoch {last}")


@dataclass(frozen=True)
class Compared:
    """Recipes that are compared, the last epoch first, and what those that choose epochs by their loss went by.

    Attributes:
        choose_loss: each epoch's recorded loss on ``choose``.
        soup: what the greedy soup tried.
    """

    recipes: list[Recipe]
    choose_loss: dict[int, float] = field(default_factory=dict)
    soup: list[SoupIngredient] = field(default_factory=list)

    def contenders(self, files: EpochFiles) -> int:
        """How many distinct models could be delivered instead of the last epoch."""
        last, *others = self.recipes
        return len({files.identity(one) for one in others if not one.is_control} - {files.identity(last)})


def _warn_of_fewer(material: Material, average: Recipe) -> None:
    """Where the thinning left fewer of the last epochs whole than are to be averaged – more were asked for than of the training –,
    and where the last of all is not whole any more."""
    wanted = min(material.settings.average_last, len(material.epochs) + len(material.thinned))
    averaged = average.epochs["backbone"]
    later = [epoch for epoch in material.thinned if epoch > max(material.epochs)]
    if later:
        warn("crossover.last_thinned", last=max(material.epochs), epochs=", ".join(map(str, later)))
    if material.thinned and len(averaged) < wanted:
        warn("crossover.fewer_whole", wanted=wanted, epochs=", ".join(map(str, averaged)))


def _compared(
    config: Config, output: Path, files: EpochFiles, scorer: Scorer, choices: Mapping[str, Choice]
) -> Compared:
    """The crossover of the epochs that were chosen, and everything that it has to be compared with."""
    material = Material(
        epochs=files.epochs,
        kept=files.kept,
        thinned=files.thinned,
        has_start=files.has_start,
        chosen={module: choices[module].epoch for module in MODULES},
        choose_loss=recorded_choose_loss(OutputPaths(output).metrics, files.epochs),
        measure=scorer.choose_loss,
        settings=config.crossover,
        seed=config.seed,
    )
    scorer.expect(recipes_known_before(material), SCORED)
    _, tried = material.soup
    recipes = recipes_of(material)
    _warn_of_fewer(material, next(one for one in recipes if one.name == "average"))
    soup = [SoupIngredient(step.epoch, step.loss, step.kept) for step in tried]
    return Compared(recipes, dict(material.choose_loss), soup)


def run_crossover(
    config: Config,
    output: Path,
    analysis: SweetSpotAnalysis,
    table: SituationTable,
    *,
    device: torch.device | str | None = None,
    batch_size: int = 64,
    should_stop: Callable[[], bool] = lambda: False,
) -> CrossoverResult:
    """Combines epochs, compares what came of it, and writes the combined model and the one to use.

    Writes ``crossover_final.pth``, ``best_model/``, ``crossover/rival.json`` (the delivered model beside the simple baseline;
    not after a dry run) and ``crossover/candidates.json``, in this order: the last is there only once the others are.

    Args:
        device: where candidates are scored; None: the CUDA device if there is one.
        batch_size: situations per forward pass.
        should_stop: asked between and within evaluations, and for the last time before anything is written.

    Raises:
        Interrupted: ``should_stop`` said so; what was there before is as it was.
        StorageError: a checkpoint of a chosen epoch is missing or damaged, or a file could not be written.
        ConfigError: see ``check_epochs``.
        DataError: too little is left to judge on of what the run was not made with.
    """
    files = EpochFiles(output)
    check_epochs(files, table, config.model.preset)
    judged = leave_out_trained(table, files.manifest(files.epochs[-1]), [output], ("choose", "judge", "test"))
    table = judged.table
    choices = analysis.choices
    changed = analysis.weights_changed and choices is not None
    info("crossover.start", epochs=len(files.all_epochs))
    scorer = Scorer(
        files,
        table,
        samples=config.report.bootstrap_samples,
        confidence=config.report.confidence,
        seed=config.seed,
        device=device or inference_device(),
        batch_size=batch_size,
        should_stop=should_stop,
    )
    compared = Compared([last_epoch(files.epochs)])
    if changed and choices is not None:
        compared = _compared(config, output, files, scorer, choices)
    recipes, comparisons = compared.recipes, compared.contenders(files)
    scorer.expect(recipes, SCORED)
    comparisons_made = max(1, comparisons)
    candidates = _candidates(files, recipes, scorer.score_all(recipes, "judge", comparisons=comparisons_made))
    decision = decide(candidates, dry_run=analysis.dry_run, weights_changed=changed, epochs=len(files.all_epochs))
    # The test split's targets are read only now that nothing can follow from them. What the candidates give for its texts is
    # there, from when their weights were in memory.
    tested = scorer.score_all(recipes, "test", comparisons=comparisons_made)
    candidates = [
        msgspec.structs.replace(c, scores={**c.scores, "test": score})
        for c, score in zip(candidates, tested, strict=True)
    ]
    result = CrossoverResult(
        outcome=decision.outcome,
        winner=decision.winner,
        delivered=decision.winner or "last",
        combined="crossover" if changed else "last",
        dry_run=analysis.dry_run,
        weights_changed=changed,
        epochs=files.epochs,
        choose_loss={str(epoch): loss for epoch, loss in sorted(compared.choose_loss.items())},
        soup=compared.soup,
        candidates=candidates,
        comparisons=comparisons,
        confidence=config.report.confidence,
        bootstrap_samples=config.report.bootstrap_samples,
        seed=config.seed,
        left_out=judged.left_out,
    )
    recipe = next(recipe for recipe in recipes if recipe.name == result.delivered)
    baseline = beside_baseline(config, table, scorer, recipe) if changed else None
    stop_if(should_stop)
    del scorer  # the model that was scored makes room for the one that is written
    _write(output, files, {recipe.name: recipe for recipe in recipes}, result, baseline)
    return result


def _candidates(files: EpochFiles, recipes: list[Recipe], on_judge: list[Score]) -> list[Candidate]:
    """Recipes with their scores on ``judge``; one with the weights of an earlier one names it."""
    first: dict[str, str] = {}
    candidates = []
    for recipe, score in zip(recipes, on_judge, strict=True):
        identity = files.identity(recipe)
        twin = first.setdefault(identity, recipe.name)
        candidates.append(
            Candidate(
                name=recipe.name,
                epochs={module: list(recipe.epochs[module]) for module in MODULES},
                identity=identity,
                identical_to=twin if twin != recipe.name else None,
                is_control=recipe.is_control,
                scores={"judge": score},
            )
        )
    return candidates


def _write(
    output: Path,
    files: EpochFiles,
    recipes: dict[str, Recipe],
    result: CrossoverResult,
    baseline: BesideBaseline | None,
) -> None:
    explanation, paths = explain(result), OutputPaths(output)
    base = files.manifest(files.epochs[-1]).without_files()
    write_combined(paths.combined, files, recipes[result.combined], base, result.outcome)
    delivered = result[result.delivered]
    selection = Selection(
        candidate=result.delivered,
        winner=result.winner,
        outcome=result.outcome,
        is_clear=result.is_clear,
        why=explanation[0],
        decided_on="judge",
        judge=delivered.scores["judge"],
        epochs=delivered.epochs,
    )
    recipe = recipes[result.delivered]
    manifest = msgspec.structs.replace(base, selection=selection)
    save_streamed(paths.best_model, files.forms(recipe), files.tensors(recipe), manifest)
    if baseline is not None:
        save_beside_baseline(output, baseline)
    save_result(output, result, explanation)
    for candidate in result.candidates:
        loss = candidate.scores["judge"].loss
        values = {"name": candidate_label(candidate.name), "loss": "–" if loss is None else f"{loss:.4f}"}
        if candidate.identical_to:
            info("crossover.candidate_identical", other=candidate_label(candidate.identical_to), **values)
        else:
            info("crossover.candidate", **values)
    for sentence in [*explanation, *(standings(baseline.splits["test"], "test") if baseline is not None else [])]:
        info("crossover.sentence", sentence=sentence)
    info("crossover.saved", path=paths.combined, best=paths.best_model)


def write_combined(path: Path, files: EpochFiles, recipe: Recipe, manifest: Manifest, outcome: str) -> None:
    """Writes a choice of files as one PyTorch file that ``torch.load(weights_only=True)`` reads.

    ``{"format", "what", "state_dict", "choices": {module: epoch}, "manifest"}``, plain types and tensors only.

    Raises:
        StorageError: it could not be written, a full disk for one; what was there is intact.
    """
    import torch

    content = {
        "format": COMBINED_FORMAT,
        "what": "crossover" if recipe.name == "crossover" else f"last epoch, no crossover: {outcome}",
        "state_dict": whole_state(files, recipe),
        "choices": {module: epochs[0] for module, epochs in recipe.epochs.items()},
        "manifest": msgspec.to_builtins(manifest),
    }

    def write(temporary: Path) -> None:
        try:
            with open(temporary, "wb") as target:
                torch.save(content, target)
        except RuntimeError as error:  # PyTorch's writer reports a full disk as this
            raise StorageError(
                f"{path}: could not be written, the previous file, if any, is intact: {error}"
            ) from error

    replace_file(path, write)
