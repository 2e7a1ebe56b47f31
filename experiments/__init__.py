"""Sweeps, benchmarks and reports over finished runs."""
