"""Trains the shards of a sweep on a Dask cluster."""
