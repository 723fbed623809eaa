"""Compiled functions: numba's `njit`, cached on disk wherever that is possible, also from a read-only installation."""

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import config

Function = TypeVar("Function", bound=Callable[..., Any])


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def cache_folder(here: Path, chosen: str) -> str:
    """Where compiled code is to be kept: `chosen`, or '' for beside the source (folder `here`), or a temporary folder.

    A read-only installation without a writable home makes numba raise otherwise.
    """
    if chosen and _writable(Path(chosen)):
        return chosen
    if not chosen and _writable(here / "__pycache__"):
        return ""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    shared = Path(tempfile.gettempdir()) / f"hoptrace-numba-{user}"
    if _writable(shared) and (not hasattr(os, "getuid") or shared.stat().st_uid == os.getuid()):
        return str(shared)
    return tempfile.mkdtemp(prefix="hoptrace-numba-")


config.CACHE_DIR = cache_folder(Path(__file__).resolve().parent, config.CACHE_DIR)


def compiled(function: Function) -> Function:
    """`function` compiled by numba at its first call, without the interpreter's lock, and kept for the next process.

    A cached function is compiled anew when its own file changes, not when a file it calls into does: what is
    compiled calls only compiled functions of the same file.
    """
    wrapped: Function = numba.njit(nogil=True)(function)
    with contextlib.suppress(RuntimeError):  # where the source is no file, as in a zip archive, there is no cache
        wrapped.enable_caching()  # type: ignore[attr-defined]
    return wrapped
