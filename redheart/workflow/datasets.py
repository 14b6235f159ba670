"""The dataset of a stage: located, checked and embedded; or the one that the run in the output folder was trained on."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from redheart.config import Config
from redheart.errors import RedHeartError, UsageError
from redheart.messages import info, warn
from redheart.paths import OutputPaths

if TYPE_CHECKING:
    from redheart.data import Split
    from redheart.data.facts import DatasetFacts
    from redheart.embedding import EmbeddedDataset

Stop = Callable[[], bool]


def embed(
    config: Config,
    *,
    needs: Collection[Split] = (),
    anew: bool = False,
    verify: bool = False,
    should_stop: Stop = lambda: False,
) -> EmbeddedDataset:
    """Locates, checks and embeds the dataset, which the other stages are handed.

    Args:
        needs: splits that have to suffice; where one does not, nothing is embedded.
        anew: embed everything again.
        verify: read the stored vectors, and embed damaged ones again.
    """
    from redheart.data import locate_dataset
    from redheart.data.sufficiency import check_sufficient, warn_of_constant_targets, warn_of_repeated_texts
    from redheart.embedding import embed_dataset

    def check(facts: DatasetFacts) -> None:
        check_sufficient(facts, located.path, needs=needs)
        warn_of_repeated_texts(facts, located.path)
        warn_of_constant_targets(facts, located.path)

    output = Path(config.output)
    located = locate_dataset(Path(config.data.path) if config.data.path else None, Path.cwd())
    return embed_dataset(
        located.path,
        config.embedding,
        output_root=output,
        force=anew,
        verify=verify,
        check=check,
        should_stop=should_stop,
    )


def prepare(config: Config, *, should_stop: Stop = lambda: False) -> EmbeddedDataset:
    """``embed``, and the check that the dataset is enough to train, choose and judge with.

    Raises:
        DataError: it is too small or has no targets; nothing was embedded for it.
    """
    from redheart.data import SPLITS

    dataset = embed(config, needs=SPLITS, should_stop=should_stop)
    dataset.check_whole_texts()
    return dataset


def prepare_once(config: Config, *, should_stop: Stop = lambda: False) -> EmbeddedDataset:
    """``prepare`` in the first of several processes; the others wait and find what it wrote."""
    from redheart.engine.launch import wait_for_first_process
    from redheart.launching.rendezvous import gathered

    with gathered(should_stop), wait_for_first_process():
        return prepare(config, should_stop=should_stop)


def embed_once(config: Config, *, needs: Collection[Split] = (), should_stop: Stop = lambda: False) -> EmbeddedDataset:
    """``embed`` in the first of several processes; the others wait and find what it wrote."""
    from redheart.engine.launch import wait_for_first_process
    from redheart.launching.rendezvous import gathered

    with gathered(should_stop), wait_for_first_process():
        return embed(config, needs=needs, should_stop=should_stop)


def embedded_of_run(config: Config) -> Path | None:
    """The embedded dataset that the run in the output folder was trained on, if there is one."""
    from redheart.training.run_folder import dataset_of_run, read_run

    return dataset_of_run(Path(config.output), read_run(Path(config.output)))


def open_dataset_of_run(config: Config, *, should_stop: Stop = lambda: False) -> EmbeddedDataset:
    """The embedded dataset that the run in the output folder was trained on; without one, what is located and embedded."""
    from redheart.embedding.open_dataset import changed_source, open_embedded
    from redheart.training.run_folder import read_run

    path = embedded_of_run(config)
    if path is None:
        return embed(config, should_stop=should_stop)
    run = read_run(Path(config.output))
    if run is not None and run.dataset is not None and path != Path(run.dataset):
        info("workflow.dataset_moved", path=path, was=run.dataset)
    if (source := changed_source(path)) is not None:
        warn("workflow.source_changed", source=source, path=path)
    return open_embedded(path)


def embed_for_run(config: Config, *, should_stop: Stop = lambda: False) -> EmbeddedDataset:
    """``embed``, for the checkpoints of the run in the output folder: by their encoder, cut as what trained them was cut."""
    from redheart.checkpoint import list_epochs
    from redheart.checkpoint.restore import embedding_settings

    epochs = list_epochs(Path(config.output))
    if epochs:
        settings = embedding_settings(epochs[-1].manifest, config.embedding)
        config = msgspec.structs.replace(config, embedding=settings)
    return embed(config, should_stop=should_stop)


def check_dataset_of_run(config: Config) -> None:
    """Refuses to take other data in silence where the run's own is not where it was.

    Raises:
        UsageError: the output folder's run names a dataset that is not there.
    """
    from redheart.training.run_folder import read_run

    run = read_run(Path(config.output))
    if run is not None and run.dataset is not None and embedded_of_run(config) is None:
        dataset = Path(run.dataset)
        seen_from = "" if dataset.is_absolute() else f" (seen from {Path.cwd()})"
        raise UsageError(
            f"{OutputPaths(config.output).run}: the run's dataset {dataset}{seen_from} is not there, and no other file of that name "
            f"in {config.output} or beside it holds the same; go to the folder that the run was started in, make it again with "
            "`redheart embed`, or name a dataset with --data"
        )


def say_if_data_changed(config: Config) -> None:
    """Warns where the run's dataset has other texts or annotations by now: its records are of what it was.

    Nothing of it is needed here: of data that can't be read, whoever needs it says what is wrong.
    """
    from redheart.batches.trained_on import find_trained_on
    from redheart.embedding import open_embedded
    from redheart.training.run_folder import read_run

    try:
        run, path = read_run(Path(config.output)), embedded_of_run(config)
        if run is None or run.identity is None or path is None:
            return
        dataset, record = open_embedded(path), find_trained_on(run.run, [Path(config.output)])
    except RedHeartError:
        return
    texts = dataset.texts_identity if record is None else record.texts
    if (dataset.identity, dataset.texts_identity) != (run.identity.get("dataset"), texts):
        warn("workflow.data_changed", path=path)
