"""The learning-rate sweep: 5 stages × 5 trials by workers without a coordinator, and the choice that follows.

A trial's result is one file and the truth; everything else – the cumulative store, the plots, ``optimal_lr.json`` –
can be made again from those files. Importing this package imports neither torch nor matplotlib.
"""

from redheart.sweep.optimal import OPTIMAL_FILE, ChosenFor, read_chosen_for, read_optimal_lr, write_chosen_for
from redheart.sweep.sweep import RESULTS_FOLDER, SweepResult, rebuild, run_sweep, run_worker

__all__ = [
    "OPTIMAL_FILE",
    "RESULTS_FOLDER",
    "ChosenFor",
    "SweepResult",
    "read_chosen_for",
    "read_optimal_lr",
    "rebuild",
    "run_sweep",
    "run_worker",
    "write_chosen_for",
]
