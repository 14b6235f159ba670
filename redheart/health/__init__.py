"""Checks that the model learns: liveness, updates, gradients, and what the data can train."""
