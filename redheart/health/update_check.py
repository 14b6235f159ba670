"""The update check: what people search the log for. Said only of what was measured, in the words of the catalogue."""

from __future__ import annotations

from collections.abc import Collection

from redheart.config import TrainingConfig
from redheart.errors import TrainingError
from redheart.health.update_monitor import UpdateReport
from redheart.messages import info, text, warn
from redheart.tasks import MODULES


def announce_updates(
    report: UpdateReport, config: TrainingConfig, untrainable: Collection[str] = (), *, by_module: bool = True
) -> None:
    """Says how much each module changed since the last look, and which did or did not.

    Args:
        untrainable: names of the tensors that nothing in the data can train; ``strict`` does not hold them against the model.
        by_module: with a line for each module; without it only those that stand still have one.

    Raises:
        TrainingError: under ``strict``, naming what did not change.
    """
    still = report.unchanged_modules(config.dead_update_threshold)
    dead = [name for name in report.unchanged_tensors if name not in untrainable]
    excused = [
        module
        for module in still
        if report.relative[module] == 0 and not any(name.startswith(f"{module}.") for name in dead)
    ]
    if not config.no_param_update:
        _announce_modules(report, config.dead_update_threshold, by_module)
    if config.no_param_update:
        warn("training.not_updated", modules=", ".join(still), reason=text("training.reason_dry_run"))
    elif still:
        for modules, reason in (
            ([module for module in still if module not in excused], ""),
            (excused, text("training.reason_no_target")),
        ):
            if modules:
                warn("training.not_updated", modules=", ".join(modules), reason=reason)
    else:
        changes = report.relative.values()
        info(
            "training.updated",
            count=len(changes),
            total=len(MODULES),
            lowest=min(changes),
            highest=max(changes),
            steps=report.steps,
        )
    if config.no_param_update:
        return
    if dead:
        shown = ", ".join(dead[:5]) + (", …" if len(dead) > 5 else "")
        warn("training.dead_tensors", count=len(dead), tensors=shown)
    blamed = [module for module in still if module not in excused] or dead
    if config.strict and blamed:
        raise TrainingError(f"training.strict: not updated in {report.steps} steps: {', '.join(blamed)}")


def is_due(every: int, batches: int, epoch: int, done: int) -> bool:
    """Whether a look is told by module: the first, and then one in ``every`` batches, also where an epoch has fewer.

    Args:
        batches: an epoch's.
        epoch, done: the epoch, from 1, and how many of its batches there were before this look.
    """
    now = (epoch - 1) * batches + done
    last_look = now - done + (done - 1) // every * every
    return last_look == 0 or now // every > last_look // every


def _announce_modules(report: UpdateReport, threshold: float, healthy_too: bool) -> None:
    """One line a module: how much it changed, as a warning where that is no more than ``threshold``."""
    for module, relative in report.relative.items():
        still = report.dead_fraction[module]
        if relative > threshold:
            if healthy_too:
                info("training.module_update", module=module, relative=relative, still=still)
        else:
            warn("training.module_still", module=module, relative=relative, threshold=threshold, still=still)
