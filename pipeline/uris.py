"""URIs of databases, and URIs without passwords."""

from __future__ import annotations

import re
from pathlib import Path

_USER_INFO = re.compile(r"(?<=://)(?:\$\{[^}]*\}|[^/?#\s])+(?=@)")
# SQLAlchemy reads the password of a database up to the next @, also if it contains a slash.
_DATABASE_USER_INFO = re.compile(
    r"((?:postgres|mysql|mariadb|mssql|oracle)[\w+]*://)[^:/@\s]*:[^@\s]*(?=@)"
)
_PARAMETER = re.compile(r"(?<=[?&])((?:password|passwd|token|secret)=)[^&#\s'\"]+", re.IGNORECASE)
_INTERPOLATION = re.compile(r"(\$\{[^}]*\})")


def sqlite_uri(path: Path) -> str:
    """The URI of a sqlite database. SQLAlchemy decodes `%` and splits at `?`."""
    return f"sqlite:///{str(path).replace('%', '%25').replace('?', '%3F')}"


def redact(text: str) -> str:
    """Replace the user and the password in every URI of a text.

    `https://ann:secret@host/` becomes `https://***@host/`. Interpolations stay, because they only
    name the place of a password: `https://ann:${oc.env:PASSWORD}@host/` becomes
    `https://***:${oc.env:PASSWORD}@host/`.
    """
    if "://" not in text:
        return text
    text = _USER_INFO.sub(_hide, text)
    text = _DATABASE_USER_INFO.sub(r"\1***", text)
    return _PARAMETER.sub(r"\1***", text)


def _hide(user_info: re.Match[str]) -> str:
    literal_and_interpolated = _INTERPOLATION.split(user_info[0])
    if len(literal_and_interpolated) == 1:
        return "***"
    literal_and_interpolated[::2] = [
        re.sub(r"[^:]+", "***", part) for part in literal_and_interpolated[::2]
    ]
    return "".join(literal_and_interpolated)
