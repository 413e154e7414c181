"""`make cluster-demo`: a sweep on a real small cluster on 127.0.0.1, while parts of it are killed.

The parts are those of a large one: PostgreSQL behind `mlflow server`, a Dask scheduler, workers.
"""
