"""The start of the heads' linear and radial paths: the best prediction from the training split, found in closed form.

A prediction that is linear in the views and in the RBF activations to training stories is ridge regression, or logistic
regression, on both. An untrained model is then better than its simple baseline, which is that on the views alone, as it would
otherwise be as good as a constant, and training is left with the rest. Found by gradient descent instead, the
linear part of a few hundred stories is learned at rates at which everything else overfits.

Penalties are chosen without validation data: by leave-one-out for numbers, by cross-validation inside the training
split for distributions. So is how much the RBF activations count beside the views.
"""

from redheart.training.linear_start.apply import apply_linear_start, centres_of, start_linear_paths
from redheart.training.linear_start.fit import fit_linear_start
from redheart.training.linear_start.result import LinearStart, PathStart
from redheart.training.linear_start.stopping import Stopping

__all__ = [
    "LinearStart",
    "PathStart",
    "Stopping",
    "apply_linear_start",
    "centres_of",
    "fit_linear_start",
    "start_linear_paths",
]
