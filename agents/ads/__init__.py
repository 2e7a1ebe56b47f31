"""Agents of ad placement: they choose among the options of a page with ads."""
