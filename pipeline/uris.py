"""URIs of databases, and URIs without passwords."""

from __future__ import annotations

import re
from pathlib import Path

_USER_INFO = re.compile(r"(?<=://)[^/\s'\"]+(?=@)")


def sqlite_uri(path: Path) -> str:
    """The URI of a sqlite database. SQLAlchemy decodes `%` and splits at `?`."""
    return f"sqlite:///{str(path).replace('%', '%25').replace('?', '%3F')}"


def redact(text: str) -> str:
    """Replace the user and the password in every URI of a text.

    `https://ann:secret@host/` becomes `https://***@host/`.
    """
    return _USER_INFO.sub("***", text)
