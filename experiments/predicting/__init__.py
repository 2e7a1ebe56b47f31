"""Predictors of the next view and nothing else: what user models are held against."""
