"""The result of a crossover, as types and as JSON; the report reads everything from it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from redheart.errors import StorageError
from redheart.facts.candidate import Score
from redheart.messages import text
from redheart.paths import OutputPaths
from redheart.storage import as_struct, read_json, write_json

FORMAT = 1

#: How it ended. ``clear``, ``unclear``: a combined or earlier model has the lowest judge loss, beyond noise or within
#: it; ``last_clear``, ``last_unclear``: the last epoch has. In the others there was nothing to choose from.
Outcome = Literal[
    "clear", "unclear", "last_clear", "last_unclear", "dry_run", "unchanged", "one_epoch", "identical", "not_finite"
]


class Candidate(msgspec.Struct, frozen=True):
    """One model that was compared.

    Attributes:
        epochs: module -> epochs that it is the average of.
        identity: equal for equal weights.
        identical_to: an earlier candidate with the same weights: the numbers are the same, and neither beats the other.
        is_control: a random crossover: compared, never delivered.
        scores: by split: ``judge`` and ``test``.
    """

    name: str
    epochs: dict[str, list[int]]
    identity: str
    identical_to: str | None
    is_control: bool
    scores: dict[str, Score]


class SoupIngredient(msgspec.Struct, frozen=True):
    """One epoch that the greedy soup tried, and the loss on ``choose`` with it."""

    epoch: int
    loss: float
    kept: bool


class CrossoverResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """The whole comparison.

    Attributes:
        winner: the candidate with the lowest judge loss; None where there was nothing to choose.
        delivered: the candidate whose weights are in ``best_model``.
        combined: the candidate whose weights are in ``crossover_final.pth``.
        choose_loss: each epoch's recorded loss on ``choose``, by epoch as text (JSON keys are).
        comparisons: how many distinct contenders of the last epoch there were; guarded intervals are widened for them.
        left_out: by split, situations that were not judged on because the run was made with them before their texts were edited.
    """

    outcome: Outcome
    winner: str | None
    delivered: str
    combined: str
    dry_run: bool
    weights_changed: bool
    epochs: list[int]
    choose_loss: dict[str, float]
    soup: list[SoupIngredient]
    candidates: list[Candidate]
    comparisons: int
    confidence: float
    bootstrap_samples: int
    seed: int
    left_out: dict[str, int] = {}

    def __getitem__(self, name: str) -> Candidate:
        for candidate in self.candidates:
            if candidate.name == name:
                return candidate
        raise KeyError(name)

    @property
    def is_clear(self) -> bool:
        """The winner's advantage is beyond noise."""
        return self.outcome in ("clear", "last_clear")

    def score(self, name: str, split: str) -> Score | None:
        """A candidate's numbers on a split; None where there is no such candidate."""
        found = [candidate for candidate in self.candidates if candidate.name == name]
        return found[0].scores.get(split) if found else None

    def better_controls(self) -> tuple[int, int]:
        """How many random crossovers have a lower judge loss than the crossover, and how many there are."""
        own = self.score("crossover", "judge")
        losses = [candidate.scores["judge"].loss for candidate in self.candidates if candidate.is_control]
        if own is None or own.loss is None:
            return 0, len(losses)
        return sum(loss is not None and loss < own.loss for loss in losses), len(losses)


class _File(CrossoverResult, frozen=True, kw_only=True):
    """``candidates.json``: the comparison, and what it says in the language of who made it."""

    format: int
    explanation: list[str]


def candidate_label(name: str) -> str:
    """A candidate's name in words, in the language of this process."""
    if name.startswith("random_"):
        return text("crossover.name_random", number=name.removeprefix("random_"))
    return text(f"crossover.name_{name}")


def save_result(output: Path, result: CrossoverResult, explanation: list[str]) -> Path:
    """Writes ``<output>/crossover/candidates.json``.

    Raises:
        StorageError: it could not be written; an earlier one is intact.
    """
    path = OutputPaths(output).candidates
    facts = {name: getattr(result, name) for name in result.__struct_fields__}
    write_json(path, _File(format=FORMAT, explanation=explanation, **facts))
    return path


def load_result(output: Path) -> CrossoverResult:
    """Reads it back.

    Raises:
        StorageError: it is missing, damaged, or of another format.
    """
    path = OutputPaths(output).candidates
    fix = f"run `{OutputPaths(output).command('crossover --force')}`"
    value = read_json(path, fix=fix)
    found = value.get("format") if isinstance(value, dict) else type(value).__name__
    if found != FORMAT:
        raise StorageError(f"{path}: format: found {found!r}, wanted {FORMAT}; {fix}")
    return as_struct(value, CrossoverResult, f"{path}: damaged", fix=fix)
