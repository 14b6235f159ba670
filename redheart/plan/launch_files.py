"""The files in ``launch/`` and ``ds_configs/``: one a strategy, written from here, so that they agree with the plan.

``python -m redheart.plan.launch_files FOLDER`` writes both folders below ``FOLDER``; a test holds that they are as written.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from redheart.plan.strategies import STRATEGIES, Strategy
from redheart.plan.zero_sizes import PERSISTENT_BELOW
from redheart.storage import Json, write_text

_HEAD = """\
compute_environment: "LOCAL_MACHINE"
debug: false
main_training_function: "main"
machine_rank: 0
num_machines: {machines}
rdzv_backend: "static"
same_network: true
tpu_use_cluster: false
tpu_use_sudo: false
"""


@dataclass(frozen=True)
class _LaunchFile:
    """One of ``launch/*.yaml``: its comment, and what it says beside what all of them say."""

    comment: tuple[str, ...]
    lines: tuple[str, ...]
    machines: int = 1

    def text(self) -> str:
        comment = "".join(f"# {line}\n" for line in self.comment)
        return comment + _HEAD.format(machines=self.machines) + "".join(f"{line}\n" for line in self.lines)


def _of_deepspeed(strategy: str, *, launcher: tuple[str, ...] = ()) -> tuple[str, ...]:
    named = f'  deepspeed_config_file: "ds_configs/{strategy}.json"'
    return ("deepspeed_config:", named, *launcher, "  zero3_init_flag: false")


_PLAIN = {
    "cpu": _LaunchFile(
        ("One process on the CPU: accelerate launch --config_file launch/cpu.yaml -m redheart train",),
        ('distributed_type: "NO"', "use_cpu: true", "num_processes: 1", 'mixed_precision: "no"'),
    ),
    "single_gpu": _LaunchFile(
        ("One process on one GPU; precision is chosen by training.precision.",),
        ('distributed_type: "NO"', "use_cpu: false", "num_processes: 1", 'gpu_ids: "0"', 'mixed_precision: "no"'),
    ),
    "multi_gpu": _LaunchFile(
        ("One process per GPU, plain data parallel. Set --num_processes to your GPUs.",),
        (
            'distributed_type: "MULTI_GPU"',
            "use_cpu: false",
            "num_processes: 2",
            'gpu_ids: "all"',
            'mixed_precision: "no"',
        ),
    ),
    "multi_cpu": _LaunchFile(
        (
            "Two processes on the CPU, plain data parallel over gloo. accelerate starts MULTI_CPU through mpirun only, and without it",
            'a single process; MULTI_GPU starts them, and where there is no GPU they use the CPU (to hide one: CUDA_VISIBLE_DEVICES="").',
        ),
        ('distributed_type: "MULTI_GPU"', "use_cpu: false", "num_processes: 2", 'mixed_precision: "no"'),
    ),
    "multi_node": _LaunchFile(
        (
            "DeepSpeed ZeRO-3 over several nodes; start it once per node with --machine_rank and --main_process_ip.",
            "deepspeed_multinode_launcher is standard: the default is pdsh, which few clusters have.",
        ),
        (
            'distributed_type: "DEEPSPEED"',
            "use_cpu: false",
            "num_processes: 2",
            "main_process_port: 29500",
            *_of_deepspeed("zero3", launcher=('  deepspeed_multinode_launcher: "standard"',)),
        ),
        machines=2,
    ),
}


def deepspeed_settings(strategy: Strategy) -> dict[str, Json]:
    """DeepSpeed's configuration of a ZeRO strategy; what is ``"auto"`` is filled in when a run starts."""
    stage = int(strategy.kind.removeprefix("zero"))
    zero: dict[str, Json] = {
        "stage": stage,
        "contiguous_gradients": True,
        # Beside offload the overlap's second set of buckets gains nothing: the copies to the host are what is waited for.
        "overlap_comm": not strategy.offloads_optimizer,
        "reduce_bucket_size": "auto",
    }
    if stage < 3:
        zero["allgather_bucket_size"] = "auto"
    else:
        zero |= {
            "stage3_prefetch_bucket_size": "auto",
            "stage3_param_persistence_threshold": PERSISTENT_BELOW,
            "stage3_max_live_parameters": "auto",
            "stage3_max_reuse_distance": "auto",
            "sub_group_size": "auto",
            "stage3_gather_16bit_weights_on_model_save": False,
        }
    offload: dict[str, Json] = {"device": "cpu", "pin_memory": "auto"}
    if strategy.offloads_optimizer:
        zero["offload_optimizer"] = offload
    if strategy.offloads_parameters:
        zero["offload_param"] = offload
    return {
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "train_batch_size": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": "auto"},
        "data_types": {"grad_accum_dtype": "fp32"},
        "steps_per_print": 1_000_000,
        "wall_clock_breakdown": False,
        "zero_optimization": zero,
    }


# Accelerate refuses a mixed_precision beside a DeepSpeed file.
def _zero_launch_file(strategy: Strategy, stem: str) -> _LaunchFile:
    where = {
        (True, False): " with optimizer in host memory",
        (True, True): " with optimizer and parameters in host memory",
    }
    held = where.get((strategy.offloads_optimizer, strategy.offloads_parameters), "")
    name = strategy.name.partition(",")[0]
    but = " Not in bf16: ZeRO-2 is the same in less memory." if strategy.kind == "zero1" else ""
    return _LaunchFile(
        (
            f"DeepSpeed {name}{held}. Works on GPUs, and on CPUs over gloo.{but}",
            f"Set --num_processes to your devices; the strategy is in ds_configs/{stem}.json.",
        ),
        (
            'distributed_type: "DEEPSPEED"',
            "use_cpu: false",
            "num_processes: 2",
            *_of_deepspeed(stem),
        ),
    )


def files() -> dict[str, str]:
    """All of them: path below the project's folder -> content."""
    found = {f"launch/{stem}.yaml": one.text() for stem, one in _PLAIN.items()}
    for strategy in STRATEGIES:
        path = strategy.launch_file(on_gpu=True)
        if path is not None and strategy.is_sharded and not strategy.recomputes:
            stem = Path(path).stem
            found[path] = _zero_launch_file(strategy, stem).text()
            found[f"ds_configs/{stem}.json"] = json.dumps(deepspeed_settings(strategy), indent=2) + "\n"
    return found


def main(folder: Path) -> None:
    """Writes them."""
    for path, content in files().items():
        write_text(folder / path, content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
