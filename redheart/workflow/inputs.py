"""Inputs of the stages whose results are skipped when they were made from the same: a typed record each, and what is kept of it.

The sweep, the training and the ablation know theirs by the identities of ``redheart.sweep.identity`` and
``redheart.training.identity``, the embedding by ``redheart.embedding.stored_facts.Source``. The language is no input: results
keep the keys of their sentences, and the report renders them anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from redheart.checkpoint import find_start, list_epochs
from redheart.config import Config
from redheart.config.schema import CrossoverConfig, ReportConfig, SweetSpotConfig
from redheart.errors import StorageError
from redheart.paths import OutputPaths
from redheart.storage import Json, fingerprint, sha256_of
from redheart.training.records import read_records
from redheart.training.run_folder import RunDescription, read_run

if TYPE_CHECKING:
    from redheart.embedding import EmbeddedDataset


class AnalyzeInputs(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the sweet spots follow from.

    Attributes:
        metrics: SHA-256 of the records.
        lost: epochs with a record and no checkpoint, which can't be chosen. Left out where there are none, as it was before.
        thinned: by module the epochs whose weights were given up for room; left out likewise.
    """

    metrics: str
    settings: SweetSpotConfig
    lost: list[int] = []
    thinned: dict[str, list[int]] = {}


class CrossoverInputs(msgspec.Struct, frozen=True, kw_only=True):
    """What candidates, their scores and the delivered model follow from.

    Attributes:
        metrics, analysis: SHA-256 of the records and of the sweet spots.
        checkpoints: of all weights that there are to combine.
        dataset, texts: identities of the data that is judged on, and of its texts, which decide the splits.
        trained_on: SHA-256 of the record of what the run was trained on; None: there is none.
        preset: the one that was asked for; where none was, the run's own.
    """

    metrics: str
    analysis: str
    checkpoints: str
    dataset: str
    texts: str
    trained_on: str | None
    preset: str
    settings: CrossoverConfig
    report: ReportConfig
    seed: int


def inputs_of(record: AnalyzeInputs | CrossoverInputs) -> Mapping[str, Json]:
    """What a stage's results follow from, by name: all that its record holds. Whether it is done before is decided by this."""
    found: Mapping[str, Json] = msgspec.to_builtins(record)
    return found


def inputs_of_analyze(config: Config, metrics: Path) -> AnalyzeInputs:
    """Of the records at ``metrics``."""
    from redheart.sweet_spot.analysis import thinned_epochs

    lost: list[int] = []
    there = list_epochs(Path(config.output))
    with contextlib.suppress(StorageError):  # the stage itself says what is wrong with the records
        saved = {one.epoch for one in there}
        lost = sorted(set(read_records(metrics).epochs) - saved) if saved else []
    return AnalyzeInputs(
        metrics=sha256_of(metrics), settings=config.sweet_spot, lost=lost, thinned=thinned_epochs(there)
    )


def inputs_of_crossover(config: Config, dataset: EmbeddedDataset, metrics: Path, analysis: Path) -> CrossoverInputs:
    """Of the run in the output folder, judged on ``dataset``.

    Raises:
        StorageError: what the folder says of its run is damaged.
    """
    output = Path(config.output)
    trained_on, preset = OutputPaths(output).trained_on, config.model.preset
    own = _of_run(read_run(output), "preset")
    return CrossoverInputs(
        metrics=sha256_of(metrics),
        analysis=sha256_of(analysis),
        checkpoints=_checkpoints(output),
        dataset=dataset.identity,
        texts=dataset.texts_identity,
        trained_on=sha256_of(trained_on) if trained_on.is_file() else None,
        preset=own if preset == "auto" and isinstance(own, str) else preset,
        settings=config.crossover,
        report=config.report,
        seed=config.seed,
    )


def _of_run(run: RunDescription | None, name: str) -> object:
    return None if run is None or run.identity is None else run.identity.get(name)


def _checkpoints(output: Path) -> str:
    start = find_start(output)
    there = [*([] if start is None else [start]), *list_epochs(output)]
    return fingerprint({str(one.epoch): one.manifest.weights_identity for one in there})


def as_stored_before(inputs: CrossoverInputs, output: Path) -> Mapping[str, Json] | None:
    """What an earlier version kept of the same inputs, when it knew neither data, checkpoints nor preset.

    None: they are not the run's own data and preset, so nothing tells that those were judged.

    Raises:
        StorageError: what the folder says of its run is damaged.
    """
    run = read_run(output)
    if (inputs.dataset, inputs.preset) != (_of_run(run, "dataset"), _of_run(run, "preset")):
        return None
    all_of_it = inputs_of(inputs)
    return {
        "metrics": all_of_it["metrics"],
        "analysis": all_of_it["analysis"],
        "settings": [all_of_it["settings"], all_of_it["report"], all_of_it["seed"]],
    }
