"""Datasets: from files to the training, validation and test splits."""
