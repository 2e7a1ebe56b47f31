"""Agents that learn in a shop, and the loop that trains them."""
