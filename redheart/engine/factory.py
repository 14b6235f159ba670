"""The choice of the engine, by what the launcher started and nothing else.

``accelerate launch --config_file launch/….yaml`` names the strategy; without it, one plain process.
"""

from __future__ import annotations

from pathlib import Path

from redheart.config import Config
from redheart.engine.contract import Engine
from redheart.engine.launch import Launch
from redheart.engine.plain import PlainEngine
from redheart.engine.zero.engine import DeepSpeedEngine


def make_engine(config: Config, *, tracking_folder: Path | None = None) -> Engine:
    """The engine of this process. Collective.

    Args:
        tracking_folder: where TensorBoard's files go; None: nothing is tracked.

    Raises:
        ConfigError: the configuration contradicts the launch or the DeepSpeed file.
        MissingRequirement: what the strategy needs is not here.
    """
    launch = Launch.of(config)
    if launch.deepspeed_file is None:
        return PlainEngine(config, launch, tracking_folder=tracking_folder)
    return DeepSpeedEngine(config, launch, launch.deepspeed_file, tracking_folder=tracking_folder)
