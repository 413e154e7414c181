"""The threads of BLAS, which NumPy uses for matrix products."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy  # noqa: F401  # loads the BLAS that the controller finds
from threadpoolctl import ThreadpoolController

# The controller looks for libraries when it is created, at import and in the main thread. In
# another thread this would deadlock with an import of a library: the one holds the loader's lock
# and waits for Python's, the other does the opposite.
_controller = ThreadpoolController()


def one_thread() -> AbstractContextManager[Any]:
    """A context in which BLAS uses one thread, so that results do not depend on the cores."""
    limiter: AbstractContextManager[Any] = _controller.limit(limits=1, user_api="blas")
    return limiter


def blas_of_numpy() -> dict[str, Any]:
    """What threadpoolctl knows of NumPy's BLAS, for example its architecture; {} if nothing."""
    libraries = [library for library in _controller.info() if library["user_api"] == "blas"]
    # SciPy has another BLAS.
    return max(libraries, key=lambda library: "numpy" in library["filepath"], default={})
