"""A look at what lies on disk – a run's checkpoints, runs side by side – and the removal of what is not needed. Imports no torch."""
