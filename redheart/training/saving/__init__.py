"""What a training leaves on disk while it runs: states to go on from, and snapshots of its weights."""
