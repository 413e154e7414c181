"""`make cluster-demo`: a sweep on a small cluster on 127.0.0.1, whose parts are killed.

It has the parts of a large cluster: PostgreSQL, `mlflow server`, a Dask scheduler and workers.
"""
