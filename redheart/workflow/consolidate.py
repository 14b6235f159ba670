"""The stage ``consolidate``: one whole model of a run's newest resume state, or of any checkpoint that is named.

Where training averages its weights (``training.ema_decay``) the model of a state is the average, as an epoch's checkpoint
is; the weights that training goes on from stay in the resume state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from redheart.checkpoint import Manifest, list_epochs, newest_resume_state
from redheart.checkpoint.tensor_file import misfit_of
from redheart.consolidation import Converted, Source, convert, open_source
from redheart.consolidation.forms.own_forms import read_resume_state
from redheart.consolidation.targets import ModuleFolder, target_of
from redheart.errors import AnotherModel, NotYetDone, StorageError, UsageError
from redheart.messages import info, warn
from redheart.paths import OutputPaths
from redheart.training.saving.resume_state import Cursor
from redheart.workflow.target_folder import refuse_within_run


def _goes_on() -> bool:
    return False


def _check_target(target: Path) -> None:
    target_of(target).check()
    refuse_within_run(target)


def consolidate(
    output: Path,
    target: Path | None = None,
    *,
    dtype: str | None = None,
    should_stop: Callable[[], bool] = _goes_on,
) -> Path:
    """Writes the newest valid resume state's weights – their average, where one was kept – as a checkpoint folder or one file.

    Args:
        output: a run's output folder.
        target: the folder to write, or a file that ends in ``.safetensors`` or ``.pth``; ``output/consolidated`` if None.
        dtype: ``"fp32"`` or ``"bf16"``; None: each tensor as it is.

    Raises:
        NotYetDone: there is no state yet.
        UsageError: ``target`` holds something else than a model that was consolidated, or lies in a run's folder.
        StorageError: no state is valid, it holds no weights, or a shard of their average is missing.
    """
    own = OutputPaths(output).consolidated
    target = target or own
    is_own = target.resolve() == own.resolve()
    if not is_own:
        _check_target(target)
    state, reasons = newest_resume_state(output, Cursor)
    for reason in reasons:
        warn("training.resume_passed_over", reason=reason)
    if state is None:
        kind = StorageError if reasons else NotYetDone
        epochs = [one for one in list_epochs(output) if one.is_whole]
        what_to_do = (
            f"the last epoch is whole as it is: {epochs[-1].path}"
            if epochs
            else f"`{OutputPaths(output).training_command}` writes them"
        )
        raise kind(f"{OutputPaths(output).resume}: there is no valid resume state to consolidate; {what_to_do}")
    # Its hashes were compared just now.
    convert(
        read_resume_state(state.path),
        target,
        dtype=dtype,
        is_checked=False,
        replaces=is_own,
        should_stop=should_stop,
    )
    info("training.checkpoint", path=target)
    return target


def convert_checkpoint(
    path: Path,
    target: Path,
    *,
    dtype: str | None = None,
    facts_from: Path | None = None,
    should_stop: Callable[[], bool] = _goes_on,
) -> Path:
    """Writes the weights of the checkpoint ``path``, whoever wrote it, as ``target``.

    Args:
        target: a folder with a file a module, or one file that ends in ``.safetensors`` or ``.pth``.
        dtype: as ``consolidate``.
        facts_from: a checkpoint of the same model whose manifest tells what ``path`` does not.

    Raises:
        UsageError: ``path`` is no checkpoint, or ``target`` holds something else or lies in a run's folder.
        AnotherModel: the weights are of another model than ``facts_from`` or than this project's.
        StorageError: the checkpoint is damaged, or ``target`` can't be written; what was there is intact.
    """
    _check_target(target)
    source = open_source(path)
    if facts_from is not None:
        source = _with_facts(source, open_source(facts_from))
    done = convert(source, target, dtype=dtype, should_stop=should_stop)
    _tell(source, target, done)
    return target


def _tell(source: Source, target: Path, done: Converted) -> None:
    info("workflow.convert_done", path=target, size=f"{done.size / 1e6:,.1f}")
    if done.sha256:
        info("workflow.convert_hash", sha256=done.sha256)
    if isinstance(target_of(target), ModuleFolder) and not (source.facts and source.facts.model):
        warn("workflow.convert_without_facts", path=target)


def _with_facts(source: Source, other: Source) -> Source:
    """The source with what another checkpoint says of its model: the same one, though with other weights."""
    facts = other.facts
    if facts is None or not facts.model:
        raise UsageError(
            f"{other.path}: says nothing of its model; wanted a checkpoint of a run, an export or a resume state"
        )
    if misfit := misfit_of(source.tensors, other.tensors, shown=list):
        raise AnotherModel(f"{source.path}: is not of the model of {other.path}: {misfit}")
    return replace(source, facts=_of_no_weights(facts))


def _of_no_weights(facts: Manifest) -> Manifest:
    """Without what holds of certain weights only."""
    return msgspec.structs.replace(facts.without_files(), global_step=None, selection=None)
