"""Sizes of what ZeRO has in flight: buckets, gathered layers, sub-groups of the optimizer's step, in elements.

The files in ``ds_configs`` leave them open (``"auto"``); a number that stands in a file is taken as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Elements below which ZeRO-3 keeps a tensor gathered.
PERSISTENT_BELOW = 100_000


@dataclass(frozen=True, slots=True)
class ZeroSizes:
    """In elements.

    Attributes:
        bucket: gradients that are reduced at once; two buckets are in flight.
        gathered: weights that ZeRO-1 and 2 gather at once after a step.
        prefetch: weights of ZeRO-3 that are gathered ahead of need.
        live: weights of ZeRO-3 that may be gathered at a time, and how near their next use has to be for them to stay so.
        sub_group: parameters of ZeRO-3 whose optimizer's step is taken at once.
    """

    bucket: int
    gathered: int
    prefetch: int
    live: int
    sub_group: int

    def by_key(self) -> dict[str, int]:
        """By DeepSpeed's names, dotted."""
        return {
            "zero_optimization.reduce_bucket_size": self.bucket,
            "zero_optimization.allgather_bucket_size": self.gathered,
            "zero_optimization.stage3_prefetch_bucket_size": self.prefetch,
            "zero_optimization.stage3_max_live_parameters": self.live,
            "zero_optimization.stage3_max_reuse_distance": self.live,
            "zero_optimization.sub_group_size": self.sub_group,
        }


#: On a GPU larger pieces keep its links busy. In host memory, where they gain nothing, all that is in flight is kept small: in two
#: processes of ``small`` a step of ZeRO-3 took 921 MiB each instead of 1,479.
ON_GPU = ZeroSizes(bucket=20_000_000, gathered=50_000_000, prefetch=20_000_000, live=100_000_000, sub_group=100_000_000)
ON_HOST = ZeroSizes(bucket=5_000_000, gathered=5_000_000, prefetch=0, live=0, sub_group=20_000_000)


def zero_sizes(*, on_gpu: bool) -> ZeroSizes:
    """Those of a GPU, or of a machine without one."""
    return ON_GPU if on_gpu else ON_HOST
