"""Datasets: bytes to splits of images."""
