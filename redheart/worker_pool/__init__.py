"""Worker processes of one machine: started one per GPU or share of the cores, watched and stopped together.

The sweep's and the ablation's are the same kind of process. A worker lives through all its tasks, because importing
torch and loading the data takes longer than a small one; it is a session of its own, so that Ctrl-C reaches the parent
alone; what it says goes to a log, whose end is quoted when it dies; and it ends with its parent. Imports no torch.
"""

from redheart.worker_pool.entry import Parent, run_as_worker
from redheart.worker_pool.pool import WorkerPool
from redheart.worker_pool.process import WorkerProcess
from redheart.worker_pool.slots import FitWorkers, Slots, own_environment, plan_slots

__all__ = [
    "FitWorkers",
    "Parent",
    "Slots",
    "WorkerPool",
    "WorkerProcess",
    "own_environment",
    "plan_slots",
    "run_as_worker",
]
