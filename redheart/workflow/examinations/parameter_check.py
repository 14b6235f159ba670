"""The parameter check: the 730M preset counted on the meta device, whatever preset trains here."""

from __future__ import annotations

from redheart.messages import info, text, warn
from redheart.model.flops import FlopCount
from redheart.model.parameters import ParameterCount, count_parameters
from redheart.tasks import MODULES

TARGET_MILLIONS = 730
TOLERANCE = 0.01


def is_on_target(counted: ParameterCount) -> bool:
    """Whether the count is within 1 % of the target."""
    return abs(counted.total / 1e6 - TARGET_MILLIONS) <= TOLERANCE * TARGET_MILLIONS


def check_line(counted: ParameterCount) -> str:
    """The one line that people look for."""
    actual = counted.total / 1e6
    if is_on_target(counted):
        return text("workflow.parameters_ok", actual=actual)
    return text("workflow.parameters_off", target=TARGET_MILLIONS, actual=actual, difference=actual - TARGET_MILLIONS)


def breakdown(counted: ParameterCount) -> str:
    """A table: each module's parameters and share, groups summed."""
    lines = [f"{'module':<28}{'parameters':>14}{'share':>9}"]
    groups = list(dict.fromkeys(module.split(".")[0] for module in MODULES))
    for group in groups:
        members = [module for module in MODULES if module.split(".")[0] == group]
        total = sum(counted.by_module[module] for module in members)
        lines.append(f"{group:<28}{total:>14,}{total / counted.total:>9.1%}")
        if len(members) > 1:
            for module in members:
                count = counted.by_module[module]
                lines.append(f"  {module.split('.')[1]:<26}{count:>14,}{count / counted.total:>9.1%}")
    lines.append(f"{'total':<28}{counted.total:>14,}{1:>9.1%}")
    return "\n".join(lines)


def operations_line(counted: FlopCount) -> str:
    """What a situation costs, in billions of floating-point operations."""
    step, checkpointed = (
        counted.training_step(activation_checkpointing=on) / counted.situations for on in (False, True)
    )
    return (
        f"GFLOPs a situation of {counted.segments} segments: {counted.per_situation / 1e9:.4g} forward, {step / 1e9:.4g} a "
        f"training step, {checkpointed / 1e9:.4g} with activation checkpointing"
    )


def check_parameters(d_embed: int) -> bool:
    """Says the check line with target, actual, difference and the breakdown by module."""
    counted = count_parameters("730m", d_embed)
    actual = counted.total / 1e6
    if is_on_target(counted):
        info("workflow.parameters_ok", actual=actual)
    else:
        warn("workflow.parameters_off", target=TARGET_MILLIONS, actual=actual, difference=actual - TARGET_MILLIONS)
    info("workflow.parameters_detail", actual=actual, difference=actual - TARGET_MILLIONS)
    from redheart.messages.log import plain

    plain(breakdown(counted))
    return is_on_target(counted)
