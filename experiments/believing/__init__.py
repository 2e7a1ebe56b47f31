"""The parts of ``python -m experiments.believable``."""
