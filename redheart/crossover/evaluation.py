"""The scoring of candidates: one model in memory, into which each recipe's weights are loaded in turn."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import torch
from torch import Tensor

from redheart.batches.table import SituationTable
from redheart.checkpoint.module_files import module_of
from redheart.checkpoint.restore import empty_model
from redheart.checkpoint.tensor_file import misfit_of
from redheart.crossover.strategies import EpochFiles, Recipe
from redheart.data.splits import Split
from redheart.errors import AnotherModel, Interrupted
from redheart.evaluation.bootstrap import Array, Resamples, paired_difference
from redheart.evaluation.evaluate import Evaluation, constant_predictor, evaluate_model, predict_split
from redheart.evaluation.resampled_metrics import draw, measures_of
from redheart.facts.candidate import Score, TaskSkill
from redheart.messages import text
from redheart.model.losses import served_loss
from redheart.model.unified import Outputs, UnifiedModel
from redheart.progress import Progress
from redheart.storage import without_nonfinite
from redheart.tasks import MODULES, TASK_BY_NAME, TASKS


def stop_if(should_stop: Callable[[], bool]) -> None:
    """Raises ``Interrupted`` if a signal asked for it."""
    if should_stop():
        raise Interrupted("the crossover was stopped, and nothing of it is written; the same command does it again")


def load_into(
    model: UnifiedModel,
    files: EpochFiles,
    recipe: Recipe,
    *,
    modules: Collection[str] = MODULES,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Fills ``modules`` of ``model`` with the recipe's weights, tensor by tensor, in place.

    Raises:
        Interrupted: ``should_stop``, asked after every tensor, said so; the model is a mixture.
        StorageError: a file is missing or damaged.
        AnotherModel: one is of another model.
    """
    wanted = {name: tensor for name, tensor in model.state_dict().items() if module_of(name) in modules}
    left = dict(wanted)
    with torch.no_grad():
        for name, tensor in files.tensors(recipe, modules):
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
    """Scores recipes on splits of a table, each distinct one once.

    There is one model in memory, and reading and combining weights is what takes long. So a recipe's weights are put into it
    once: what it gives on all splits that it will be scored on (``expect``) is kept, and set beside the targets of a split
    when the split's turn has come. Until then nothing of the split's targets is looked at, so that it can decide nothing.
    Modules that the model has from the recipe before stay.
    """

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
        self.model = empty_model(files.manifest(files.epochs[-1]), self.device)
        self._held: dict[str, list[str]] = {}
        self._expected: dict[str, tuple[Split, ...]] = {}
        self._predicted: dict[tuple[str, Split], Outputs] = {}
        self._reference: dict[str, Array] = {}
        self._scored: dict[tuple[str, Split], Evaluation] = {}

    def expect(self, recipes: Iterable[Recipe], splits: Iterable[Split]) -> None:
        """Says on which splits recipes will be scored: whenever one is in memory, what it gives on them is kept."""
        there = tuple(split for split in splits if split in self.table.split_indices)
        self._expected |= dict.fromkeys(map(self.files.identity, recipes), there)

    def evaluate(self, recipe: Recipe, split: Split, *, with_items: bool = True) -> Evaluation:
        """The recipe's model on a split.

        Raises:
            Interrupted: ``should_stop``, asked before each evaluation and within it, said so.
        """
        stop_if(self.should_stop)
        identity = self.files.identity(recipe)
        if (identity, split) not in self._predicted:
            self._load(recipe)
            for one in self._expected.get(identity, ()):
                if (identity, one) not in self._predicted and (identity, one) not in self._scored:
                    self._predicted[identity, one] = predict_split(
                        self.model,
                        self.table,
                        one,
                        device=self.device,
                        batch_size=self.batch_size,
                        should_stop=self.should_stop,
                    )
        return evaluate_model(
            self.model,
            self.table,
            split,
            device=self.device,
            batch_size=self.batch_size,
            with_items=with_items,
            predicted=self._predicted.pop((identity, split), None),
            should_stop=self.should_stop,
        )

    def _load(self, recipe: Recipe) -> None:
        parts = self.files.parts(recipe)
        missing = self._missing(recipe)
        self._held = {module: held for module, held in self._held.items() if module not in missing}
        load_into(self.model, self.files, recipe, modules=missing, should_stop=self.should_stop)
        self._held = parts

    def _missing(self, recipe: Recipe) -> list[str]:
        """Modules of a recipe whose weights are not those in memory."""
        return [module for module, part in self.files.parts(recipe).items() if self._held.get(module) != part]

    def _next_first(self, recipes: Iterable[Recipe], split: Split) -> Iterator[Recipe]:
        """Recipes in the order in which least is read: always the one with the most in memory already."""
        left = list(recipes)
        while left:
            costs = [
                0
                if (self.files.identity(recipe), split) in self._predicted
                else self.files.bytes_of(recipe, self._missing(recipe))
                for recipe in left
            ]
            yield left.pop(costs.index(min(costs)))

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
        distinct = {self.files.identity(recipe): recipe for recipe in recipes}
        what = text("progress.crossover", split=split)
        ordered = self._next_first(distinct.values(), split)
        for recipe in Progress(what, len(distinct), is_brief=True, unit="model").over(ordered):
            self._scored[self.files.identity(recipe), split] = self.evaluate(recipe, split)
        scores = {name: self._score(self._scored[name, split], split, comparisons) for name in distinct}
        return [scores[self.files.identity(recipe)] for recipe in recipes]

    def _score(self, evaluation: Evaluation, split: Split, comparisons: int) -> Score:
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
