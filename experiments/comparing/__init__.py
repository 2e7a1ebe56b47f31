"""What user models are compared by: see `experiments.user_models`."""
