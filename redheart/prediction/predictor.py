"""The predictor: a trained model applied to new texts exactly as to its training data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from redheart.batches.table import SituationTable
from redheart.checkpoint.restore import Restored, embedding_settings, shape_of
from redheart.config import EmbeddingConfig
from redheart.data import Situation
from redheart.embedding import EmbeddedDataset, find_model
from redheart.embedding.encoder import Encoder
from redheart.embedding.language.reading import StorySample
from redheart.embedding.language.tokenizer import find_cut
from redheart.embedding.model_source import multilingual_models
from redheart.errors import AnotherEncoder, Interrupted
from redheart.facts.model import ModelDescription
from redheart.machine import inference_device
from redheart.messages import text, warn
from redheart.model.statistics import natural_units
from redheart.progress import Progress
from redheart.tasks import TASKS

_AT_ONCE = 32


@dataclass(frozen=True)
class Prediction:
    """What the model says of one situation.

    Attributes:
        values: one number per dimension, in natural units, by task; None for a dimension that nothing in the training split
            was annotated with: the model says nothing about it.
    """

    situation: Situation
    values: dict[str, tuple[float | None, ...]]


class Predictor:
    """A model and its encoder, loaded once."""

    def __init__(self, restored: Restored, given: EmbeddingConfig) -> None:
        """Loads the encoder that the model was trained with.

        Args:
            given: the user's settings; see ``embedding_settings``.

        Raises:
            AnotherEncoder: the checkpoint does not tell its encoder, what is found under that name is another one, or its
                vectors are of another size; naming both.
            MissingRequirement: the encoder is not to be had.
        """
        trained = restored.manifest.encoder
        if not trained.fingerprint:
            raise AnotherEncoder(
                f"{restored.path}: does not tell which encoder made the vectors that it was trained on, so a text can't be "
                "embedded for it; train on a dataset that `redheart embed` embedded"
            )
        self._settings = embedding_settings(restored.manifest, given)
        source = find_model(self._settings.model, self._settings.prompt)
        self._encoder = Encoder(source, batch_size=self._settings.batch_size, precision=self._settings.precision)
        shape = restored.model.config
        if self._encoder.d_embed != shape.d_embed:
            raise AnotherEncoder(
                f"{restored.path}: found {shape_of(shape)}; the encoder {self._settings.model!r} gives vectors of "
                f"{self._encoder.d_embed} numbers: name the one it was trained with, {trained.name!r} (embedding.model)"
            )
        if source.fingerprint != trained.fingerprint:
            raise AnotherEncoder(
                f"{restored.path}: was trained on vectors of the encoder {trained.name!r} ({trained.fingerprint}); "
                f"{self._settings.model!r} is another one here ({source.fingerprint}): name the right one (embedding.model)"
            )
        self._path = restored.path
        self._folder = source.folder
        self._trained_unread = restored.manifest.data.unread if restored.manifest.data is not None else None
        self._device = inference_device()
        self._model = restored.model.to(self._device).eval()
        self._known = _known(restored.manifest)

    def predict(
        self, situations: Sequence[Situation], *, should_stop: Callable[[], bool] = lambda: False
    ) -> Iterator[list[Prediction]]:
        """Predictions in the situations' order, some at a time. Warns first of texts that the encoder can't read.

        Raises:
            Interrupted: ``should_stop``, asked before each of these times, said so.
        """
        self._warn_of_unread(situations)
        with Progress(text("progress.predicting"), len(situations), is_brief=True, unit="text") as progress:
            for start in range(0, len(situations), _AT_ONCE):
                if should_stop():
                    raise Interrupted(f"stopped with {start} of {len(situations)} texts predicted")
                some = situations[start : start + _AT_ONCE]
                found = self._predict(some)
                progress.update(len(some))
                yield found

    def _warn_of_unread(self, situations: Sequence[Situation]) -> None:
        names, model = multilingual_models(), self._settings.model
        if self._trained_unread:
            percent = f"{100 * self._trained_unread:.3g}"
            warn("prediction.trained_unread", model=model, percent=percent, names=names)
        cut = find_cut(self._folder)
        reading = StorySample.of(situations).read_by(cut, model) if cut is not None else None
        if reading is not None and reading.unread:
            warn("prediction.unread", model=model, count=reading.unread, looked=reading.looked, names=names)

    def _predict(self, situations: Sequence[Situation]) -> list[Prediction]:
        table = SituationTable(self._embedded(situations), self._path)
        batch = table.batch(np.arange(len(situations))).to(self._device)
        with torch.inference_mode():
            outputs = self._model(*batch.inputs)
        values = {
            task.name: natural_units(task.name, outputs.predictions[task.name], self._model.statistics).cpu().numpy()
            for task in TASKS
        }
        return [
            Prediction(one, {name: self._told(name, rows[row]) for name, rows in values.items()})
            for row, one in enumerate(situations)
        ]

    def _told(self, task: str, row: NDArray[np.float32]) -> tuple[float | None, ...]:
        return tuple(float(value) if known else None for value, known in zip(row, self._known[task], strict=True))

    def _embedded(self, situations: Sequence[Situation]) -> EmbeddedDataset:
        cut = self._encoder.segment(situations, self._settings.window_word_pieces, self._settings.max_segments)
        rows = self._encoder.encode_segments([segment for segments in cut for segment in segments])
        kinds = ["".join(str(segment.kind) for segment in segments) for segments in cut]
        first_rows = np.cumsum([0, *map(len, kinds)])[:-1].astype(np.int64)
        keys = [str(index) for index in range(len(situations))]
        return EmbeddedDataset.of_situations(
            Path(self._path), situations, keys, rows, first_rows, kinds, model_name=self._settings.model
        )


def _known(manifest: ModelDescription) -> dict[str, list[bool]]:
    """Which dimensions the training split was annotated with; all of them where the checkpoint does not tell."""
    counts = manifest.target_counts or {}
    known: dict[str, list[bool]] = {}
    for task in TASKS:
        found = [count > 0 for count in counts.get(task.name, [1] * len(task.dimensions))]
        known[task.name] = found
    return known
