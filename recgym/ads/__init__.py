"""Ads on a page: campaigns, an auction, budgets, and the rules of where an ad may stand."""
