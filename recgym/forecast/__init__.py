"""Forecasts of sales and traffic from a log: ``python -m recgym.forecast log=...``."""
