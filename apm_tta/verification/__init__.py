"""Compare a published zero-shot accuracy with a run's on a subset, and look for what makes them differ."""
