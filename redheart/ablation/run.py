"""One run of an ablation: a variant trained from one seed, its epoch chosen on ``choose``, scored on ``judge``.

Whoever finishes a run writes its file at once, whole or not at all, so a killed ablation goes on with the runs that are
missing. A file of other settings, other data or a model of other shapes is not taken for the run's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from redheart.ablation.variants import builder, removed, shapes
from redheart.config import Config
from redheart.data.splits import Split
from redheart.embedding import EmbeddedDataset
from redheart.errors import TrainingError
from redheart.evaluation.evaluate import Evaluation
from redheart.model.losses import TERMS
from redheart.storage import fingerprint, read_json, write_json
from redheart.storage.structs import as_struct
from redheart.training.identity import trial_identity
from redheart.training.trial import Build, TrialRunner

#: Significant digits of a stored prediction: what fp32 holds.
_DIGITS = 7


def resolve(config: Config) -> Config:
    """The configuration of the runs: the smallest preset unless another was asked for, all of the training split."""
    preset = "tiny" if config.model.preset == "auto" else config.model.preset
    return msgspec.structs.replace(
        config,
        model=msgspec.structs.replace(config.model, preset=preset),
        training=msgspec.structs.replace(config.training, no_param_update=False),
        sweep=msgspec.structs.replace(config.sweep, epochs=config.ablation_epochs, max_situations=2**62),
    )


class EpochScores(msgspec.Struct, frozen=True):
    """One epoch on ``choose``: the loss of what is served and the mean skill; None where that could not be scored."""

    epoch: int
    heads_loss: float | None
    mean_skill: float | None


class FinishedRun(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The file of a finished run.

    Attributes:
        identity: of the variant under these settings, see ``Ablator.identity``.
        without: the groups that the variant lacks.
        epoch: the chosen one; ``curve`` holds all, the start (0) included.
        judge_count: situations that were predicted.
        predictions: (items, dimensions) per task, in natural units, of the chosen epoch on ``judge``.
        texts: the identity of the data's texts, which ``identity`` misses where a file brought the vectors; None: of before.
    """

    identity: str
    variant: str
    without: tuple[str, ...]
    seed: int
    epoch: int
    curve: tuple[EpochScores, ...]
    judge_count: int
    predictions: dict[str, list[list[float]]]
    seconds: float
    texts: str | None = None


def write_run(path: Path, run: FinishedRun) -> None:
    """Writes the file on one line: thousands of numbers that nobody reads one by one."""
    write_json(path, msgspec.to_builtins(run), indent=None)


def read_run(path: Path, *identities: str, texts: str | None = None) -> FinishedRun | None:
    """The stored run; None where there is none, or one of none of these identities, which may be of another version and form.

    Args:
        texts: of the data; a run that was made of others is none of these.

    Raises:
        StorageError: the file is damaged.
    """
    if not path.exists():
        return None
    fix = "remove it: this run alone is then trained again"
    found = read_json(path, fix=fix)
    if isinstance(found, dict) and found.get("identity") not in identities:
        return None
    run = as_struct(found, FinishedRun, str(path), fix=fix)
    return run if texts is None or run.texts in (None, texts) else None


class Ablator:
    """Trains variants, all at one learning rate, and keeps what they came to.

    Args:
        config: as ``resolve`` gives it.
        asked: the same before learning rate and precision were settled: what a run means; None: ``config``.
        alike: other ways of asking for the same: a run that is stored as one of them is this one too.
        dataset: what ``redheart.embedding`` opened, or an ``.embedded.json``.
        folder: where the files of finished runs lie.
    """

    def __init__(
        self,
        config: Config,
        dataset: EmbeddedDataset | Path,
        folder: Path,
        learning_rate: float,
        *,
        asked: Config | None = None,
        alike: Sequence[Config] = (),
    ) -> None:
        self.config, self.folder, self.learning_rate = config, folder, learning_rate
        self.asked = config if asked is None else asked
        self.runner = TrialRunner(config, dataset)
        self.table = self.runner.table
        self._alike = alike
        self._texts = self.table.dataset.texts_identity
        self._identities: dict[str, list[str]] = {}

    def file(self, variant: str, seed: int) -> Path:
        return self.folder / f"{variant}_seed{seed}.json"

    def identity(self, variant: str) -> str:
        """What a run of ``variant`` means, whatever its seed."""
        return self._all_identities(variant)[0]

    def _all_identities(self, variant: str) -> list[str]:
        """Of every way of asking for it, as it was asked first."""
        if variant not in self._identities:
            parameters = shapes(variant, self.runner.dimensions)
            self._identities[variant] = []
            for asked in (self.asked, *self._alike):
                meant = trial_identity(asked, self.table.identity)
                del meant["seed"]
                self._identities[variant].append(
                    fingerprint(
                        {**meant, "variant": variant, "learning_rate": self.learning_rate, "parameters": parameters}
                    )
                )
        return self._identities[variant]

    def finished(self, variant: str, seed: int) -> FinishedRun | None:
        """The stored run, if it is there and is this one.

        Raises:
            StorageError: the file is damaged.
        """
        return read_run(self.file(variant, seed), *self._all_identities(variant), texts=self._texts)

    def train(
        self, build: Build, seed: int, *, name: str, should_stop: Callable[[], bool] = lambda: False
    ) -> tuple[BestEpoch, float]:
        """Trains what ``build`` makes from ``seed``: its best epoch, and the seconds that it took.

        Args:
            name: what the error calls it.

        Raises:
            Interrupted: ``should_stop`` said so.
            TrainingError: it diverged.
        """
        kept = BestEpoch()
        outcome = self.runner.run(
            learning_rate=self.learning_rate,
            seed=seed,
            should_stop=should_stop,
            build=build,
            on_epoch=kept.see,
            score_start=True,
        )
        if outcome.diverged or kept.judged is None:
            raise TrainingError(
                f"ablation: {name!r} (seed {seed}) diverged at learning rate {self.learning_rate:g}, which is the same for "
                "all: give a lower one with --lr; finished runs are kept, but belong to this learning rate"
            )
        return kept, outcome.seconds

    def run(self, variant: str, seed: int, *, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Trains the variant from ``seed`` and writes its file.

        Raises:
            Interrupted: ``should_stop`` said so; the run leaves no file.
            TrainingError: it diverged.
        """
        kept, seconds = self.train(builder(variant), seed, name=variant, should_stop=should_stop)
        assert kept.judged is not None
        finished = FinishedRun(
            identity=self.identity(variant),
            variant=variant,
            without=removed(variant),
            seed=seed,
            epoch=kept.epoch,
            curve=tuple(kept.curve),
            judge_count=kept.judged.count,
            predictions={name: _rounded(values) for name, values in kept.judged.predictions.items()},
            seconds=seconds,
            texts=self._texts,
        )
        write_run(self.file(variant, seed), finished)


class BestEpoch:
    """Remembers the epoch (0: as it starts) with the lowest loss of what is served, the heads' part that every variant has, on
    ``choose``, and what the model of that epoch said on ``judge``.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.lowest = float("inf")
        self.curve: list[EpochScores] = []
        self.judged: Evaluation | None = None

    def see(self, epoch: int, on_choose: Evaluation, evaluate: Callable[[Split], Evaluation]) -> None:
        loss = sum(term.weight * on_choose.terms[term.name] for term in TERMS if term.name.startswith("heads."))
        if loss < self.lowest:
            self.epoch, self.lowest, self.judged = epoch, loss, evaluate("judge")
        self.curve.append(EpochScores(epoch, loss, on_choose.mean_skill))


def _rounded(values: NDArray[np.float64]) -> list[list[float]]:
    return [[float(f"{number:.{_DIGITS}g}") for number in row] for row in values.tolist()]
