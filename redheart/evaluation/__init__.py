"""Evaluation: metrics as skills, their intervals, and the bootstrap over situations."""
