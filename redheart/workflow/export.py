"""The stage ``export``: a checkpoint as a folder for others – weights in one file, all facts in another, a model card."""

from __future__ import annotations

import shutil
from pathlib import Path

from redheart.checkpoint.restore import open_model
from redheart.errors import StorageError, UsageError
from redheart.facts.evaluation import StoredEvaluation, load_evaluation
from redheart.facts.model import ModelDescription
from redheart.messages import debug, info
from redheart.model.exported import CARD, CONFIG, WEIGHTS, is_export, write_exported
from redheart.paths import OutputPaths
from redheart.storage import replace_folder, write_text
from redheart.storage.atomic import sync_folder
from redheart.storage.names import reason_of
from redheart.workflow.target_folder import refuse_within_run

#: The parts whose numbers a card shows: on the others the model was trained, or its epoch chosen.
_SHOWN = ("test", "judge")


def export(checkpoint: Path, target: Path) -> Path:
    """Writes the model of ``checkpoint`` as the folder ``target``, all of it or nothing.

    Args:
        checkpoint: whatever ``open_model`` takes.
        target: a new folder, an empty one, or an earlier export, which is replaced.

    Raises:
        UsageError: ``target`` holds something else, or lies in a run's folder, or ``checkpoint`` is none.
        StorageError: the checkpoint is damaged, or a file could not be written; what was in ``target`` is intact.
    """
    _check_target(target)
    refuse_within_run(target)
    restored = open_model(checkpoint)
    evaluations = _evaluations(restored.path, restored.manifest)
    temporary = target.absolute().with_name(f".{target.absolute().name}.writing")
    try:
        shutil.rmtree(temporary, ignore_errors=True)  # what a killed run left
        temporary.mkdir(parents=True)
        write_exported(restored.model, temporary)
        write_text(temporary / CARD, restored.model.generate_model_card(evaluations=evaluations).content)
        sync_folder(temporary)
        replace_folder(temporary, target.absolute())
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, (OSError, StorageError)):
            reason = reason_of(error, target) if isinstance(error, OSError) else error
            raise StorageError(f"{target}: not exported: {reason}; what was there before is intact") from error
        raise
    info("workflow.export_done", path=target, checkpoint=restored.path, count=len(evaluations))
    return target


def _check_target(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target}: is a file, wanted a folder to write")
    names = {path.name for path in target.iterdir()} if target.is_dir() else set()
    if not names:
        return
    foreign = sorted(names - {WEIGHTS, CONFIG, CARD})
    if foreign or not is_export(target):
        found = ", ".join(foreign[:3]) or "no config.json of an export"
        raise UsageError(
            f"{target}: is no earlier export (found {found}) and is left alone; name a new folder with --to"
        )


def _evaluations(checkpoint: Path, manifest: ModelDescription) -> list[StoredEvaluation]:
    """What ``redheart evaluate`` stored of exactly these weights, in the run's output folder; by part and dataset."""
    folders = [OutputPaths(parent).evaluation for parent in list(checkpoint.absolute().parents)[:2]]
    found: list[StoredEvaluation] = []
    for path in sorted(path for folder in folders if folder.is_dir() for path in folder.glob("*.json")):
        evaluation = load_evaluation(path, manifest.weights_identity, _SHOWN)
        if evaluation is None:
            debug(f"{path}: of other weights or of another part, not in the card")
        else:
            found.append(evaluation)
    return sorted(found, key=lambda one: (_SHOWN.index(one.split), one.data))
