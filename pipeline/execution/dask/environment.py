"""The properties of a machine that determine the last bits of a result."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from pipeline.blas import blas_of_numpy
from pipeline.paths import PACKAGE

REMEDIES = {  # what to do if a worker differs from the sweep's machine in a property
    "pipeline/": "start it again from the same checkout",
    "NumPy": "install the same requirements.lock there",
    "BLAS": "set OPENBLAS_CORETYPE on all machines to the same kernels (docs/guide/clusters.md)",
    "NumPy's kernels": "set NPY_DISABLE_CPU_FEATURES on all machines (docs/guide/clusters.md)",
}


def _code_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


CODE = _code_digest()  # at import: a worker may run longer than its checkout stays the same


def environment() -> Mapping[str, str]:
    """The code and the numeric kernels of this machine, which determine the bits of a result."""
    blas = blas_of_numpy()
    names = ("internal_api", "version", "architecture")
    loops = np.lib.introspect.opt_func_info(func_name="^(add|exp|log|maximum)$")
    kernels = {kinds["current"] for types in loops.values() for kinds in types.values()}
    return {
        "pipeline/": CODE,
        "NumPy": np.__version__,
        "BLAS": " ".join(str(blas.get(name, "?")) for name in names),
        "NumPy's kernels": ", ".join(sorted(kernels)),
    }


def difference(other: Mapping[str, str]) -> str:
    """One sentence about the first property in which this machine differs, or ""."""
    own = environment()
    for name, expected in other.items():
        if own[name] != expected:
            return f"its {name} is {own[name]}, not {expected}: {REMEDIES[name]}"
    return ""
