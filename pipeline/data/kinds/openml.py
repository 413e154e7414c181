"""A table from OpenML (https://www.openml.org), downloaded once and cached by scikit-learn."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pooch

from pipeline.config import DataConfig
from pipeline.data.kinds.table import split_frame
from pipeline.data.raw import RawDataset
from pipeline.errors import DataError

ATTEMPTS = 2  # to reach OpenML
PAUSE = 0.5  # seconds between them


def read(config: DataConfig) -> RawDataset:
    """Fetch the table, split its rows, and encode its columns.

    Raises:
        DataError: the table cannot be fetched, or its columns are not suitable.
    """
    if config.id is None:
        raise DataError("data=openml needs the number of a dataset at OpenML: set data.id=NUMBER")
    from sklearn.datasets import fetch_openml  # takes a second to import

    cache = pooch.os_cache("population-sweep")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about retries: the error says the same
            found = fetch_openml(
                data_id=config.id,
                as_frame=True,
                parser="pandas",
                data_home=str(cache),
                n_retries=ATTEMPTS,
                delay=PAUSE,
            )
    except Exception as error:  # of the network, of OpenML's answers and of the parser
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"dataset {config.id} of OpenML could not be fetched ({reason}): check data.id and the "
            "network, or save the table as CSV and use data=table"
        ) from error
    target = config.target or ", ".join(found.target_names)
    return split_frame(found.frame, replace(config, target=target), f"OpenML dataset {config.id}")
