"""What `experiments.long_term` trains and measures."""
