"""Shoppers learned from logs."""
