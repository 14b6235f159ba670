"""The result of the analysis, as types and as JSON: one vote per technique, one choice per module, and why.

A reason is kept as a message's key and its values, so that the same analysis can be read in either language.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from redheart.errors import StorageError
from redheart.messages import text
from redheart.paths import OutputPaths
from redheart.storage import Scalar, as_struct, read_json, write_json

FORMAT = 1

#: The numbers behind a vote, by name.
Evidence = dict[str, Scalar | Sequence[Scalar] | Mapping[str, Scalar]]


class Reason(msgspec.Struct, frozen=True):
    """A sentence of the catalogue: ``str()`` renders it in the language of this process."""

    key: str
    values: dict[str, Scalar] = {}

    def __str__(self) -> str:
        return text(self.key, **self.values)


class Vote(msgspec.Struct, frozen=True):
    """What one technique says about one module.

    Attributes:
        epoch: the epoch it prefers, 1-based as in the records; None: it abstains, and ``reason`` says why.
        confidence: 0..1, defined by each technique in its own file; 0 with an abstention.
        evidence: the numbers behind it.
    """

    epoch: int | None
    confidence: float
    reason: Reason
    evidence: Evidence = {}

    @property
    def abstains(self) -> bool:
        return self.epoch is None


def abstain(key: str, *, evidence: Evidence | None = None, **values: Scalar) -> Vote:
    """A vote for nothing, with the message ``key`` as its reason."""
    return Vote(None, 0.0, Reason(key, values), evidence or {})


class Choice(msgspec.Struct, frozen=True):
    """The epoch at which one module was at its best.

    Attributes:
        epoch: 1-based, as in the records.
        confidence: 0..1; see ``voting.py``. 0: nothing spoke for this epoch rather than another one.
        techniques: one vote for each of ``techniques.TECHNIQUES``.
        because: why, as a message.
        still_improving: the chosen epoch is the last one and the module was getting better when the run ended.
        not_kept: the epoch that would have been chosen, had its weights not been given up for room on the disk; None: this is it.
    """

    epoch: int
    confidence: float
    techniques: dict[str, Vote]
    because: Reason = msgspec.field(name="reason")
    still_improving: bool = False
    not_kept: int | None = None

    @property
    def reason(self) -> str:
        """Why, as a sentence in the language of this process."""
        return str(self.because)


class SweetSpotAnalysis(msgspec.Struct, frozen=True, kw_only=True):
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

    format: int = FORMAT
    dry_run: bool
    weights_changed: bool
    epochs: tuple[int, ...]
    explanation: Reason
    inputs: str
    settings: dict[str, float]
    choices: dict[str, Choice] | None


def save_analysis(output: Path, analysis: SweetSpotAnalysis) -> None:
    """Writes ``sweet_spot_analysis.json``, each reason with its sentence in the language of this process.

    ``not_kept`` is left out where it is None: so it was before there was any.

    Raises:
        StorageError: it could not be written; an earlier one is intact.
    """
    write_json(OutputPaths(output).analysis, _with_sentences(msgspec.to_builtins(analysis)))


def _with_sentences(value: object) -> object:
    if not isinstance(value, dict):
        return value
    told = {name: _with_sentences(inner) for name, inner in value.items() if (name, inner) != ("not_kept", None)}
    return {**told, "text": text(value["key"], **value["values"])} if value.keys() == {"key", "values"} else told


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
    fix = f"run `{OutputPaths(path.parent.parent).command('analyze --force')}`"
    value = read_json(path, fix=fix)
    found = value.get("format") if isinstance(value, dict) else type(value).__name__
    if found != FORMAT:
        raise StorageError(f"{path}: format: found {found!r}, wanted {FORMAT}; {fix}")
    return as_struct(value, SweetSpotAnalysis, f"{path}: damaged", fix=fix)
