"""The modules of the model: backbone, heads, analyzers, wrappers, phases, dsp, kalman, and their building blocks."""
