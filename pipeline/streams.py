"""Standard streams that never end a command.

A closed pipe (`… | head -1`), a full disk (`> /dev/full`), a closed descriptor (`2>&-`) or a narrow
encoding (`PYTHONIOENCODING=latin-1`) costs the characters that cannot be written, and nothing else:
the sweep continues, its runs end and its report is written. A stream shows no passwords of URIs,
which libraries may print.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO, cast

from pipeline.uris import redact


def make_robust() -> None:
    """Replace sys.stdout and sys.stderr by streams that ignore errors and show no passwords.

    This must happen before the process opens any file. A file that is opened while descriptor 2 is
    closed gets number 2, and then receives every message that a library writes to stderr.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
            os.set_inheritable(descriptor, True)  # worker processes need it, too
    sys.stdout = _robust(sys.stdout, 1)
    sys.stderr = _robust(sys.stderr, 2)


def _robust(stream: TextIO | None, descriptor: int) -> TextIO:
    if stream is None:  # Python found the descriptor closed
        stream = os.fdopen(descriptor, "w", encoding="utf-8", closefd=False)
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return cast(TextIO, _RobustStream(stream))


class _RobustStream:
    """A text stream that goes to /dev/null after the first error."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            self._stream.write(redact(text))
        except OSError:
            self._discard()
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._discard()

    def _discard(self) -> None:
        """Redirect the descriptor, so that the text that is still in the buffer can leave it."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
