"""The parts of `python -m experiments.throughput`: one module a group of figures."""
