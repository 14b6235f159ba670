"""Training: the loop, the engine behind it, what is watched while it runs, and evaluation."""
