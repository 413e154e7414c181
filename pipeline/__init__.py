"""Two-layer neural networks in NumPy, swept with Hydra, tracked with MLflow."""

import sys

if sys.platform == "win32":
    sys.exit(
        "the pipeline does not run on Windows, because it needs POSIX signals and file locks: "
        "install it in the Windows Subsystem for Linux (WSL)"
    )
