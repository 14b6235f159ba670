"""The presets of the model: one frozen set of dimensions, and three sizes of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace

import msgspec

from redheart.config import MAX_SEGMENTS
from redheart.facts.model import Shape
from redheart.tasks import GROUPS

#: Sizes of title, action, the mean of the windows and the text whole in the linear views. Title and action are a dozen words
#: that say nearly the same: at half the size, where a penalty holds them back more, the best linear prediction of 768
#: stories' annotations had a KL of 0.220 instead of 0.224, and an R² of 0.348 instead of 0.344 (``benchmarks/model_quality.py``).
VIEW_WEIGHTS = (0.5, 0.5, 1.0, 1.0)
#: Nearness to a story falls to 1/e at a squared distance of 1/2, where vectors of unit length that have nothing in common
#: are 2 apart.
SHARPNESS = 2.0
#: Stories around which there are radial basis functions, and how many numbers all of them together may take in each view:
#: wider vectors leave fewer stories, and ``tiny`` tiny.
MAX_CENTRES, CENTRE_NUMBERS = 1536, 1536 * 384


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDimensions:
    """Everything that decides the shape of the model and its regularisation."""

    preset: str
    d_embed: int = 384
    """Width of the sentence encoder's vectors."""
    max_segments: int = MAX_SEGMENTS
    """The longest sequence; the resonators' impulse responses are as long."""
    d_model: int
    layers: int
    attention_heads: int
    """Of the backbone and of every tower."""
    head_width: int
    head_layers: int
    analyzer_width: int
    analyzer_layers: int
    wrapper_width: int
    wrapper_layers: int
    phase_width: int
    signal_channels: int
    """Channels of the emotion trajectory that dsp_simulator filters."""
    signal_width: int
    state_width: int
    """Hidden width of kalman_filter's observation model and features."""
    centres: int = 0
    """Stories that the radial basis functions stand around; 0: none."""
    dropout: float = 0.1
    embedding_dropout: float = 0.5
    """On the encoder's vectors, before the backbone and, separately, before the heads' linear path. Half of them, because
    a few hundred stories are far fewer than the vectors' dimensions: at 0.1 validation turned two epochs earlier."""
    without: tuple[str, ...] = ()
    """Groups of modules that are left out, to see what they are worth. In the place of ``backbone`` stands the mean pool
    of the projected segments, in that of ``heads`` a linear read-out of the pool; the others are absent, and with them
    their terms of the loss. The remaining terms keep their weights, so that what is left is trained as it is in the whole
    model."""

    def __post_init__(self) -> None:
        for width in (self.d_model, self.analyzer_width, self.wrapper_width, self.phase_width):
            if width % (2 * self.attention_heads):
                raise ValueError(f"width {width} can't be divided by twice the {self.attention_heads} attention heads")
        for name in ("dropout", "embedding_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} {getattr(self, name)}: wanted 0 <= {name} < 1")
        if self.without != tuple(group for group in GROUPS if group in self.without):
            raise ValueError(f"without {self.without}: wanted groups in the order {', '.join(GROUPS)}, each once")

    def has(self, module: str) -> bool:
        """Whether the group of ``module`` is there as it is, not left out."""
        return module.partition(".")[0] not in self.without

    def to_json(self) -> Shape:
        """With what no preset changes but all weights are for."""
        own: Shape = {"view_weights": list(VIEW_WEIGHTS), "sharpness": SHARPNESS}
        return {**asdict(self), "without": list(self.without), **own}

    @staticmethod
    def from_json(data: Shape) -> ModelDimensions:
        """The inverse of ``to_json``. ``without`` and ``centres`` may be missing: older manifests know of no such thing.

        Raises:
            ValueError: a field is unknown or missing, or the weights are for other views or another RBF activations than this
                version has.
        """
        own = {"view_weights": list(VIEW_WEIGHTS), "sharpness": SHARPNESS}
        there = {name: data.get(name, value) for name, value in own.items()}
        if there != own:
            raise ValueError(f"model dimensions: found {there}, wanted those of this version: {own}")
        data = {name: value for name, value in data.items() if name not in own}
        known = {field.name for field in fields(ModelDimensions)}
        given = {"without": (), "centres": 0, **data}
        if set(given) != known:
            raise ValueError(
                f"model dimensions: unknown {sorted(set(given) - known)}, missing {sorted(known - set(given))}"
            )
        try:
            return msgspec.convert(given, ModelDimensions)
        except msgspec.ValidationError as error:
            raise ValueError(f"model dimensions: {error}") from error


PRESETS: dict[str, ModelDimensions] = {
    "tiny": ModelDimensions(
        preset="tiny",
        d_model=96,
        layers=2,
        attention_heads=4,
        head_width=96,
        head_layers=1,
        analyzer_width=96,
        analyzer_layers=1,
        wrapper_width=96,
        wrapper_layers=1,
        phase_width=64,
        centres=MAX_CENTRES,
        signal_channels=28,
        signal_width=64,
        state_width=64,
    ),
    "small": ModelDimensions(
        preset="small",
        d_model=384,
        layers=3,
        attention_heads=6,
        head_width=384,
        head_layers=1,
        analyzer_width=384,
        analyzer_layers=3,
        wrapper_width=384,
        wrapper_layers=2,
        phase_width=192,
        centres=MAX_CENTRES,
        signal_channels=56,
        signal_width=192,
        state_width=192,
    ),
    "730m": ModelDimensions(
        preset="730m",
        d_model=1024,
        layers=7,
        attention_heads=16,
        head_width=1104,
        head_layers=1,
        analyzer_width=1024,
        analyzer_layers=7,
        wrapper_width=1024,
        wrapper_layers=3,
        phase_width=1024,
        centres=MAX_CENTRES,
        signal_channels=448,
        signal_width=1024,
        state_width=1024,
    ),
}


def dimensions(preset: str, *, d_embed: int = 384, dropout: float = 0.1) -> ModelDimensions:
    """A preset for vectors of width ``d_embed``; ``dropout=0`` turns every dropout off.

    Raises:
        KeyError: there is no such preset.
    """
    chosen = PRESETS[preset]
    return replace(
        chosen,
        d_embed=d_embed,
        dropout=dropout,
        embedding_dropout=chosen.embedding_dropout if dropout else 0.0,
        centres=min(MAX_CENTRES, CENTRE_NUMBERS // d_embed),
    )
