"""Facts of a model beside its weights: what it was trained on and how, its shape, and why it was delivered.

A checkpoint's manifest and an export's ``config.json`` hold them under the same names. A fact that is not known is None here
and absent there; names that this version does not know are passed over.
"""

from __future__ import annotations

import msgspec

from redheart.facts.candidate import Score
from redheart.storage import Scalar

#: A model's dimensions as JSON, see ``ModelDimensions.to_json``.
Shape = dict[str, Scalar | list[str | int | float]]
#: ``TargetStatistics`` as JSON.
Statistics = dict[str, dict[str, list[float]]]


class EncoderFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The sentence encoder whose vectors a model was trained on; empty where it was not recorded.

    Attributes:
        prompt: what it read before every text.
    """

    name: str = ""
    fingerprint: str = ""
    prompt: str | None = None


class Segmentation(msgspec.Struct, frozen=True, kw_only=True):
    """How a text has to be cut to be predicted as the model was trained."""

    window_word_pieces: int
    max_segments: int


class DataFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The dataset's name, and situations by split.

    Attributes:
        unread: share of the stories that the encoder can't read, where there are some.
    """

    name: str
    counts: dict[str, int]
    unread: float | None = None


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Why these weights were delivered: the candidate of a crossover, and its score on the split that decided.

    Attributes:
        winner: None where there was nothing to choose from.
        epochs: module -> epochs that it is the average of.
    """

    candidate: str
    winner: str | None
    outcome: str
    is_clear: bool
    why: str
    decided_on: str
    judge: Score
    epochs: dict[str, list[int]]


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a model comes from.

    Attributes:
        run: identity of the training run.
        epoch: 1-based; 0 is the model before its first step. None for what is no epoch.
        dataset: identity of the data.
        target_counts: task -> annotated training situations, per dimension.
        training_split: ``TargetStatistics`` of the training split as JSON, where the model's own ``statistics`` are others: it began
            with weights that were trained on other data.
    """

    run: str | None = None
    epoch: int | None = None
    dataset: str | None = None
    data: DataFacts | None = None
    preset: str | None = None
    d_embed: int | None = None
    segmentation: Segmentation | None = None
    target_counts: dict[str, list[int]] | None = None
    encoder: EncoderFacts = EncoderFacts()
    seed: int | None = None
    learning_rate: float | None = None
    ema_decay: float | None = None
    global_step: int | None = None
    selection: Selection | None = None
    training_split: Statistics | None = None


class ModelDescription(ModelFacts, frozen=True, kw_only=True, omit_defaults=True):
    """Facts with what a model can be built from: ``ModelDimensions`` and ``TargetStatistics`` as JSON.

    They are not read as those types: another version's shape is to be named, not taken for damage.
    """

    model: Shape = {}
    statistics: Statistics = {}

    @property
    def weights_identity(self) -> str | None:
        """What tells the weights from others'; None where nothing is known of their files."""
        return None

    def facts(self) -> ModelFacts:
        """Without the shape, the statistics and whatever else the file tells."""
        return ModelFacts(**{name: getattr(self, name) for name in ModelFacts.__struct_fields__})
