"""Hydra configurations."""
