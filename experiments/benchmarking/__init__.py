"""Cells, scores and report of ``python -m experiments.benchmark``."""
