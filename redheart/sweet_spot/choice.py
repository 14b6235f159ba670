"""What the analysis says, as types and as JSON: a vote a technique, a choice a module, and why.

A reason is kept as a message's key and its values, so that the same analysis can be read in either language.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redheart.errors import StorageError
from redheart.messages import text
from redheart.paths import OutputPaths
from redheart.storage import read_json

FORMAT = 1

#: The five techniques in the order of the report; the last one is the vote over the others.
TECHNIQUES = ("plateau", "task_metrics", "mcda", "gradient_health", "voting")


@dataclass(frozen=True, slots=True)
class Reason:
    """A sentence of the catalogue: ``str()`` renders it in the language of this process."""

    key: str
    values: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return text(self.key, **self.values)

    def to_json(self) -> dict[str, Any]:
        return {"key": self.key, "values": self.values, "text": str(self)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Reason:
        return cls(value["key"], dict(value["values"]))


@dataclass(frozen=True, slots=True)
class Vote:
    """What one technique says about one module.

    Attributes:
        technique: one of ``TECHNIQUES``.
        epoch: the epoch it prefers, 1-based as in the records; None: it abstains, and ``reason`` says why.
        confidence: 0..1, defined by each technique in its own file; 0 with an abstention.
        evidence: the numbers behind it, JSON-able.
    """

    technique: str
    epoch: int | None
    confidence: float
    reason: Reason
    evidence: dict[str, Any] = field(default_factory=dict)

    @property
    def abstains(self) -> bool:
        return self.epoch is None

    def to_json(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "confidence": self.confidence,
            "reason": self.reason.to_json(),
            "evidence": self.evidence,
        }

    @classmethod
    def from_json(cls, technique: str, value: dict[str, Any]) -> Vote:
        return cls(
            technique, value["epoch"], value["confidence"], Reason.from_json(value["reason"]), dict(value["evidence"])
        )


def abstain(technique: str, key: str, *, evidence: dict[str, Any] | None = None, **values: Any) -> Vote:
    """A vote for nothing, with the message ``key`` as its reason."""
    return Vote(technique, None, 0.0, Reason(key, values), evidence or {})


@dataclass(frozen=True, slots=True)
class Choice:
    """The epoch at which one module was at its best.

    Attributes:
        epoch: 1-based, as in the records.
        confidence: 0..1; see ``voting.py``. 0: nothing spoke for this epoch rather than another one.
        techniques: one vote for each of ``TECHNIQUES``.
        because: why, as a message.
        still_improving: the chosen epoch is the last one and the module was getting better when the run ended.
    """

    epoch: int
    confidence: float
    techniques: dict[str, Vote]
    because: Reason
    still_improving: bool = False

    @property
    def reason(self) -> str:
        """Why, as a sentence in the language of this process."""
        return str(self.because)

    def to_json(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "confidence": self.confidence,
            "still_improving": self.still_improving,
            "reason": self.because.to_json(),
            "techniques": {name: vote.to_json() for name, vote in self.techniques.items()},
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Choice:
        votes = {name: Vote.from_json(name, vote) for name, vote in value["techniques"].items()}
        because = Reason.from_json(value["reason"])
        return cls(value["epoch"], value["confidence"], votes, because, value["still_improving"])


@dataclass(frozen=True, slots=True)
class SweetSpotAnalysis:
    """The whole analysis.

    Attributes:
        choices: by module; None where the weights never changed, because then there is nothing to choose.
        dry_run: the run was started as a dry run.
        weights_changed: at least one module's weights moved in at least one epoch.
        epochs: the epochs on record, ascending.
        explanation: what the analysis as a whole has to say.
        inputs: identity of what was read (metrics and settings): equal inputs, equal analysis.
        settings: weights and level that were used.
    """

    choices: dict[str, Choice] | None
    dry_run: bool
    weights_changed: bool
    epochs: tuple[int, ...]
    explanation: Reason
    inputs: str
    settings: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        choices = self.choices
        return {
            "format": FORMAT,
            "dry_run": self.dry_run,
            "weights_changed": self.weights_changed,
            "epochs": list(self.epochs),
            "explanation": self.explanation.to_json(),
            "inputs": self.inputs,
            "settings": self.settings,
            "choices": None if choices is None else {name: choice.to_json() for name, choice in choices.items()},
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> SweetSpotAnalysis:
        choices = value["choices"]
        return cls(
            choices=None if choices is None else {name: Choice.from_json(choice) for name, choice in choices.items()},
            dry_run=value["dry_run"],
            weights_changed=value["weights_changed"],
            epochs=tuple(value["epochs"]),
            explanation=Reason.from_json(value["explanation"]),
            inputs=value["inputs"],
            settings=dict(value["settings"]),
        )


def load_analysis(path: Path) -> SweetSpotAnalysis:
    """Reads an analysis back.

    Args:
        path: ``sweet_spot_analysis.json``, the folder that holds it, or the output root above that.

    Raises:
        StorageError: it is missing, damaged, or of another format.
    """
    for candidate in (path / OutputPaths.analysis.name, OutputPaths(path).analysis):
        if candidate.is_file():
            path = candidate
            break
    value = read_json(path)
    found = value.get("format") if isinstance(value, dict) else type(value).__name__
    if found != FORMAT:
        raise StorageError(f"{path}: format: found {found!r}, wanted {FORMAT}; run `redheart analyze` again")
    try:
        return SweetSpotAnalysis.from_json(value)
    except (KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{path}: damaged: {error!r}; run `redheart analyze` again") from error
