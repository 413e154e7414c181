"""Side-by-side measurements, run by hand: `make bench-quick` and `make bench`."""

import os

# OpenBLAS chooses its kernel by the CPU; these variables would force another one. It reads them
# when NumPy is imported, which is after this package.
for _name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(_name, None)
