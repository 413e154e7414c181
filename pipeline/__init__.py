"""Two-layer networks in NumPy, swept with Hydra, tracked by MLflow, judged with pandas."""
