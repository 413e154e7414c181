"""Hyperparameter search with Optuna: spaces, samplers and studies. Nothing here imports Hydra."""
