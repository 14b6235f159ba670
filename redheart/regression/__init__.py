"""Regressions in closed form or by a convex solver, for the simple baseline and the model's linear start."""
