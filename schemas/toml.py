"""TOML files read the same way on every Python, with errors that name the file."""

import sys
from pathlib import Path
from typing import Any

from hoptrace.schemas.errors import HoptraceError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_toml(source: str | Path | bytes) -> dict[str, Any]:
    """The tables of a TOML file, given by its path or as its bytes.

    Raises HoptraceError where the file cannot be read or is not TOML, naming file and line.
    """
    if isinstance(source, bytes):
        return parse_toml(source, "TOML")
    try:
        content = Path(source).read_bytes()
    except OSError as error:
        raise HoptraceError(
            f"{source}: cannot be read ({error.strerror}); check the path and its permissions"
        ) from error
    return parse_toml(content, str(source))


def parse_toml(content: bytes, name: str) -> dict[str, Any]:
    """The tables of the text `content`; `name` is what errors call it. Raises HoptraceError where it is not TOML."""
    try:
        return tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise HoptraceError(f"{name}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise HoptraceError(f"{name}: not valid TOML: {error}") from error
