"""The parts of ``python -m experiments.off_policy``."""
