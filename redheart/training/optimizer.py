"""The optimizer, AdamW: matrices decay, vectors (biases, norms, gates) do not; deeper layers may learn more slowly.

With ``training.layer_lr_decay`` below 1 a parameter learns at the rate of the schedule times ``decay ** distance``, its
distance from the output being what the model declares (see ``redheart/model/depth.py``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from redheart.config import TrainingConfig
from redheart.model import Model, TargetStatistics
from redheart.model.modules.heads import LinearPath
from redheart.model.modules.radial_basis import RadialBasis, RadialPath
from redheart.model.unified import modules_of
from redheart.tasks import TASKS
from redheart.training.init_from import MIN_FOR_START, has_start
from redheart.training.schedule import SCALE, set_learning_rate

#: Of a linear path that starts at the best linear prediction: there is little left for it to learn, and much to overfit.
#: At the full rate the emotions' KL of 768 stories was 0.2299 instead of 0.2272 (two folds of five).
LINEAR_START_RATE = 0.1
#: Tasks with nearly as many targets as the one that has most learn at the same rate.
FULL_COVERAGE = 0.9
#: No task learns at less than this share: a norm's weights, which are about 1, would at low rates be rounded back each step.
MIN_SHARE = 0.01
#: Modules that only the emotions train, without saying so in their name.
EMOTION_FILTERS = {"dsp_simulator": "emotion", "kalman_filter": "emotion"}


def decays(parameter: nn.Parameter) -> bool:
    """Whether weight decay applies: to matrices and higher, by the parameter's full shape under ZeRO-3 too."""
    return len(getattr(parameter, "ds_shape", parameter.shape)) >= 2


def learning_rate_scales(model: Model, config: TrainingConfig) -> dict[str, float]:
    """What each parameter's learning rate is multiplied by: ``layer_lr_decay`` to the power of its distance from the output.

    Modules of a task with few targets learn more slowly; so do linear and radial paths that start at their best, and the
    centres of the radial basis functions.

    Raises:
        ValueError: a parameter whose depth no module declares.
    """
    scales = {name: 1.0 for name, _ in model.named_parameters()}
    if config.layer_lr_decay != 1.0:
        scales = {name: config.layer_lr_decay**distance for name, distance in model.distances().items()}
    if config.rate_by_coverage:
        for name, share in _shares_of_targets(model).items():
            scales[name] *= share
    if has_start(config):
        for name, module in model.named_modules():
            if isinstance(module, RadialBasis) or (
                isinstance(module, LinearPath | RadialPath)
                and model.statistics[name.split(".")[1]].targets >= MIN_FOR_START
            ):
                for parameter, _ in module.named_parameters(prefix=name):
                    scales[parameter] *= LINEAR_START_RATE
    return scales


def slower_tasks(statistics: TargetStatistics) -> dict[str, float]:
    """Share of targets, relative to the task that has most, of each task that has clearly fewer; none without any.

    Never less than ``MIN_SHARE``.
    """
    covered = {task.name: statistics[task.name].coverage for task in TASKS}
    most = max(covered.values())
    return {task: max(share / most, MIN_SHARE) for task, share in covered.items() if 0.0 < share < FULL_COVERAGE * most}


def _shares_of_targets(model: Model) -> dict[str, float]:
    """Each parameter's task's share of targets, relative to the task that has most; those of the backbone and of
    phases, which belong to no single task, are not here.

    Adam moves weights as far for a batch with three annotated stories as for one with thirty. Beside stories that have only a
    verdict, the other tasks' modules would pass over their few targets as often as alone, but ten times as far.
    """
    slower = slower_tasks(model.statistics)
    shares: dict[str, float] = {}
    for name, module in modules_of(model).items():
        task = EMOTION_FILTERS.get(name) or name.partition(".")[2]
        if task in slower:
            shares |= {parameter: slower[task] for parameter, _ in module.named_parameters(prefix=name)}
    return shares


def build_optimizer(model: Model, learning_rate: float, config: TrainingConfig) -> torch.optim.AdamW:
    """The optimizer of the main training and of every trial of the sweep.

    Raises:
        ValueError: see ``learning_rate_scales``.
    """
    scales = learning_rate_scales(model, config)
    groups: list[dict[str, Any]] = []
    for scale in sorted(set(scales.values()), reverse=True):
        members = [p for name, p in model.named_parameters() if p.requires_grad and scales[name] == scale]
        settings = {} if scale == 1.0 else {SCALE: scale}
        for weight_decay, parameters in (
            (config.weight_decay, [p for p in members if decays(p)]),
            (0.0, [p for p in members if not decays(p)]),
        ):
            if parameters:
                groups.append({"params": parameters, "weight_decay": weight_decay, **settings})
    set_learning_rate(groups, learning_rate)
    # One pass over weights, gradients and moments instead of a dozen, on the CPU too.
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.95), eps=1e-8, fused=True)
