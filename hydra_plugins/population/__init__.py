"""A Hydra launcher that trains the jobs of a sweep together, and the sweeper that feeds it."""
