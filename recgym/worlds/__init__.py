"""True shops, whose law is known."""
