"""The start from weights that are there: ``training.init_from``, a checkpoint of whatever kind, for new data, tasks or schedule.

The model takes all tensors of the source, so before its first step it predicts what the source predicts. That goes for what the
targets are measured by, too: mean and scale of a regression, prior of a distribution travel with the weights as buffers. Only
of a task for which the source was trained on next to nothing they are the new data's. Nothing is solved for in closed form, unless
``training.linear_start`` is asked for; then linear and radial paths are solved for on top.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from redheart.checkpoint.epoch import check_not_thinned
from redheart.checkpoint.manifest import NAME as MANIFEST
from redheart.checkpoint.manifest import load_manifest
from redheart.config import Config, TrainingConfig, with_settings
from redheart.errors import UsageError
from redheart.messages import info, warn
from redheart.paths import OutputPaths
from redheart.storage import fingerprint, sha256_of

if TYPE_CHECKING:
    from redheart.batches.table import SituationTable
    from redheart.batches.trained_on import Source
    from redheart.embedding import EmbeddedDataset
    from redheart.model import ModelDimensions, TargetStatistics, UnifiedModel

#: A task with fewer annotated training situations has not been learnt: it was neither solved for, nor has it a scale to go by.
MIN_FOR_START = 20


def solves_start(training: TrainingConfig) -> bool:
    """Whether the start is found in closed form: unless something else is said, where it is not a checkpoint."""
    return training.init_from is None if training.linear_start is None else training.linear_start


def has_start(training: TrainingConfig) -> bool:
    """Whether a training begins with a model that may be worth something: solved for, or trained before."""
    return solves_start(training) or training.init_from is not None


def source_identity(path: Path) -> str:
    """16 hex digits that tell a source's weights from others'; no weights are read but those of a single file.

    Raises:
        UsageError: there is nothing of that kind, or an epoch that was thinned.
        StorageError: it is damaged.
    """
    if path.is_file():
        return fingerprint(sha256_of(path))
    if (path / MANIFEST).is_file():
        manifest = load_manifest(path)
        check_not_thinned(path, manifest)
        found = manifest.weights_identity
    else:
        from redheart.model.exported import CONFIG, read_config

        if not (path / CONFIG).is_file():
            combined = OutputPaths(path.parent).combined
            if (path / OutputPaths.candidates.name).is_file() and combined.is_file():
                return source_identity(combined)
            raise UsageError(
                f"training.init_from: {path}: found {'a folder without manifest.json' if path.is_dir() else 'no such file or folder'}; "
                "wanted a checkpoint (checkpoints/epoch_NNNN, best_model, consolidated), an export, or crossover_final.pth"
            )
        found = fingerprint(read_config(path).export.sha256)
    return found or fingerprint(str(path.resolve()))


def with_preset_of_source(config: Config) -> Config:
    """``config`` with the source's preset, where it starts from one and asks for none.

    Raises:
        UsageError, StorageError, AnotherModel: the source is not there, damaged, or of another version of the model.
    """
    if config.training.init_from is None or config.model.preset != "auto":
        return config
    from redheart.checkpoint.restore import build_dimensions, describe

    path = Path(config.training.init_from)
    source_identity(path)  # refuses what is no source, with what is wanted
    return with_settings(config, {"model.preset": build_dimensions(describe(path), path).preset})


def statistics_with_source(path: Path, own: TargetStatistics, *, is_solved: bool) -> TargetStatistics:
    """What targets are measured by: the source's for each task it has learnt, else the new training split's ``own``.

    The constant predictor, beside which the run's skills stand, goes by ``own`` all the same: it knows what the run trained on.

    Args:
        is_solved: the start is found in closed form on top.
    """
    from redheart.checkpoint.restore import describe, statistics_of
    from redheart.model import TargetStatistics

    description = describe(path)
    source, counts = statistics_of(description), description.target_counts
    found = {}
    for name, one in own.tasks.items():
        learnt = MIN_FOR_START if counts is None else max(counts.get(name, []), default=0)
        if learnt >= MIN_FOR_START:
            found[name] = replace(source[name], coverage=one.coverage, targets=max(one.targets, learnt))
        else:  # nothing of it starts at its best, unless it is solved for
            found[name] = one if is_solved else replace(one, targets=0)
    return TargetStatistics(found, training_split=own if found != own.tasks else None)


def without_what_trained(
    path: Path, table: SituationTable, *, is_told: bool = True
) -> tuple[SituationTable, list[Source]]:
    """``table`` without what its halves would be judged on that the source has seen; and what that is, to be kept with the run.

    Where the source's run is not at hand nothing is known, and that is said.

    Args:
        is_told: whether either is said; the trials of a sweep leave out the same.

    Raises:
        DataError: too little is left to judge on.
        UsageError, StorageError: the source or its run's record is damaged.
    """
    from redheart.batches.trained_on import find_sources, leave_out_sources
    from redheart.checkpoint.restore import describe

    description = describe(path)
    found = find_sources(description.run, [path, *list(path.absolute().parents)[:2]])
    if found is None:
        if is_told and (description.dataset != table.identity or table.dataset.sequences.has_older):
            warn("data.source_unknown", source=path, path=table.path)
        return table, []
    return leave_out_sources(table, found, ("choose", "judge", "test"), is_told=is_told).table, found


def check_source_stays(path: Path, output: Path) -> None:
    """Whether the source is none of what another run in ``output`` would move out of its way.

    Raises:
        UsageError: it is.
    """
    for place in OutputPaths(output).of_a_run():
        if path.resolve().is_relative_to(place.resolve()):
            raise UsageError(
                f"training.init_from: {path} lies in {output}, whose run has to make room for this one: name another folder with "
                "--output, or copy the checkpoint out of there"
            )


def initialise(model: UnifiedModel, path: Path, dataset: EmbeddedDataset, wanted: ModelDimensions) -> None:
    """Fills a model of the shape ``wanted`` with the source's weights.

    Args:
        dataset: whose vectors have to be of the encoder that the source was trained on.

    Raises:
        UsageError, StorageError: the source is not there, or damaged.
        AnotherModel: it is of another shape; naming what differs.
        AnotherEncoder: it was trained on another encoder's vectors.
    """
    from redheart.checkpoint.restore import check_same_model, check_vectors, describe, fill

    description = describe(path)
    check_vectors(description, path, dataset)
    check_same_model(description, path, wanted, "this training")
    kept = {name: buffer.clone() for name, buffer in model.named_buffers() if name.startswith("heads.")}
    fill(model, path)
    # Of a task that is new to the source its heads measure by the new data.
    buffers = dict(model.named_buffers())
    for name, buffer in kept.items():
        if name.rpartition(".")[2] in ("mean", "scale", "prior_log"):
            buffers[name].copy_(buffer)
    info(
        "training.init_from",
        path=path,
        epoch="–" if description.epoch is None else description.epoch,
        dataset="–" if description.data is None else description.data.name,
    )
