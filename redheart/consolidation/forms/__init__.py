"""The forms of checkpoints that are read, each told as tensors whose bytes lie in runs of files."""
