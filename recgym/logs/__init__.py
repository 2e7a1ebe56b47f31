"""Logs of shops: readers, cleaning, sessions, splits."""
