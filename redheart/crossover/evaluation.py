"""The scoring of candidates: one model in memory, into which each recipe's weights are loaded in turn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from redheart.batches.table import SituationTable
from redheart.checkpoint.module_files import module_of
from redheart.checkpoint.restore import build_from_manifest, misfit_of
from redheart.crossover.strategies import EpochFiles, Recipe
from redheart.data.splits import Split
from redheart.errors import AnotherModel, Interrupted
from redheart.evaluation.bootstrap import Array, Resamples, paired_difference
from redheart.evaluation.evaluate import Evaluation, constant_predictor, evaluate_model
from redheart.evaluation.resampled_metrics import draw, measures_of
from redheart.facts.candidate import Score, TaskSkill
from redheart.messages import text
from redheart.model.losses import served_loss
from redheart.model.unified import UnifiedModel
from redheart.progress import Progress
from redheart.storage import without_nonfinite
from redheart.tasks import TASK_BY_NAME, TASKS


def stop_if(should_stop: Callable[[], bool]) -> None:
    """Raises ``Interrupted`` if a signal asked for it."""
    if should_stop():
        raise Interrupted("the crossover was stopped, and nothing of it is written; the same command does it again")


def load_into(
    model: UnifiedModel, files: EpochFiles, recipe: Recipe, *, should_stop: Callable[[], bool] = lambda: False
) -> None:
    """Fills ``model`` with the recipe's weights, tensor by tensor, in place.

    Raises:
        Interrupted: ``should_stop``, asked after every tensor, said so; the model is a mixture.
        StorageError: a file is missing or damaged.
        AnotherModel: one is of another model.
    """
    wanted = model.state_dict()
    left = dict(wanted)
    with torch.no_grad():
        for name, tensor in files.tensors(recipe):
            stop_if(should_stop)
            _check_fits(files, recipe, {name: tensor}, {name: wanted[name]} if name in wanted else {})
            left.pop(name).copy_(tensor)
    _check_fits(files, recipe, {}, left)


def _check_fits(files: EpochFiles, recipe: Recipe, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    if misfit := misfit_of(found, wanted):
        module = module_of(next(iter({**found, **wanted})))
        raise AnotherModel(
            f"{files.folder}: module {module!r} of epochs {list(recipe.epochs[module])} does not fit the model "
            f"that the last epoch's manifest describes: {misfit}; the epochs are of different models, or of another "
            "version of it: train anew into an empty folder"
        )


def whole_state(files: EpochFiles, recipe: Recipe) -> dict[str, Tensor]:
    """All tensors of a recipe by their full names, in the files' own types."""
    return dict(files.tensors(recipe))


class Scorer:
    """Scores recipes on splits of a table, each distinct one once."""

    def __init__(
        self,
        files: EpochFiles,
        table: SituationTable,
        *,
        samples: int,
        confidence: float,
        seed: int,
        device: torch.device | str = "cpu",
        batch_size: int = 64,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.files, self.table = files, table
        self.samples, self.confidence, self.seed = samples, confidence, seed
        self.device, self.batch_size, self.should_stop = torch.device(device), batch_size, should_stop
        self.model = build_from_manifest(files.manifest(files.epochs[-1])).to(self.device)
        self._loaded: str | None = None
        self._reference: dict[str, Array] = {}
        self._scored: dict[tuple[str, Split], Evaluation] = {}

    def evaluate(self, recipe: Recipe, split: Split, *, with_items: bool = True) -> Evaluation:
        """The recipe's model on a split.

        Raises:
            Interrupted: ``should_stop``, asked before each evaluation and within it, said so.
        """
        stop_if(self.should_stop)
        identity = self.files.identity(recipe)
        if self._loaded != identity:
            self._loaded = None
            load_into(self.model, self.files, recipe, should_stop=self.should_stop)
            self._loaded = identity
        return evaluate_model(
            self.model,
            self.table,
            split,
            device=self.device,
            batch_size=self.batch_size,
            with_items=with_items,
            should_stop=self.should_stop,
        )

    def scored(self, recipe: Recipe, split: Split) -> Evaluation:
        """What ``score_all`` found of a recipe that it was given."""
        return self._scored[self.files.identity(recipe), split]

    def choose_loss(self, recipe: Recipe) -> float:
        """The served loss on ``choose``."""
        return served_loss(self.evaluate(recipe, "choose", with_items=False).terms)

    def score_all(self, recipes: list[Recipe], split: Split, *, comparisons: int) -> list[Score]:
        """Scores all recipes on ``split`` against the first one, the last epoch.

        Args:
            comparisons: how many contenders of the last epoch there are.

        Raises:
            Interrupted: ``should_stop`` said so.
            StorageError: a chosen file is missing or damaged.
        """
        seen: dict[str, Score] = {}
        scores = []
        what = text("progress.crossover", split=split)
        for recipe in Progress(what, len(recipes), is_brief=True, unit="model").over(recipes):
            identity = self.files.identity(recipe)
            if identity not in seen:
                seen[identity] = self._score(recipe, split, comparisons)
            scores.append(seen[identity])
        return scores

    def _score(self, recipe: Recipe, split: Split, comparisons: int) -> Score:
        evaluation = self.evaluate(recipe, split)
        self._scored[self.files.identity(recipe), split] = evaluation
        resamples = Resamples(evaluation.count, self.samples, self.seed, self.should_stop)
        losses = evaluation.item_losses
        reference = self._reference.setdefault(split, losses)
        difference = None
        if losses is not reference:
            difference = paired_difference(losses, reference, resamples, self.confidence, comparisons=comparisons)
        return Score(
            count=evaluation.count,
            loss=_finite(float(losses.mean())) if len(losses) else None,
            total_loss=_finite(evaluation.loss),
            mean_skill=_finite(evaluation.mean_skill),
            difference=difference,
            tasks={task.name: self._task_skill(evaluation, task.name, resamples) for task in TASKS},
        )

    def _task_skill(self, evaluation: Evaluation, name: str, resamples: Resamples) -> TaskSkill:
        task = TASK_BY_NAME[name]
        metrics = evaluation.tasks[name]
        low = high = None
        if metrics.skill is not None and math.isfinite(metrics.skill):
            scored = (evaluation.targets[name], evaluation.masks[name], evaluation.predictions[name])
            measures = measures_of(task, *scored, constant_predictor(name, self.model.statistics))
            if drawn := draw({"skill": measures["skill"]}, resamples):
                estimate = drawn["skill"].estimate(self.confidence)
                low, high = estimate.low, estimate.high
        return TaskSkill(_finite(metrics.skill), low, high, without_nonfinite(metrics))


def _finite(value: float | None) -> float | None:
    """JSON has no NaN: a model that gives none of its numbers has none."""
    return value if value is not None and math.isfinite(value) else None
