"""What a sweep says, as a page that can be put before a product team."""
