"""The arrays that a function of the user returns, saved in an .npz file by the command.

This module only reads the file. `pipeline.data.prepared` calls the function.
"""

from __future__ import annotations

from pipeline.config import DataConfig
from pipeline.data.kinds import npz
from pipeline.data.raw import RawDataset
from pipeline.errors import DataError


def read(config: DataConfig) -> RawDataset:
    """Read the saved arrays.

    Raises:
        DataError: the command line names no function, or its arrays are not suitable.
    """
    if config.file is None:
        raise DataError(
            "data=callable needs a function: add data.target=MODULE:FUNCTION to the command line"
        )
    return npz.read(config)
