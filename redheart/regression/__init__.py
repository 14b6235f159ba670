"""Regressions found in closed form or by a convex solver: of the simple baseline and of where the model's linear paths start."""
