"""The files that are written, a slice of a tensor at a time."""
