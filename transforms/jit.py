"""Compiled functions: numba's `njit`, cached on disk wherever that is possible, also from a read-only installation."""

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, config, types
from numba.extending import intrinsic

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

    It makes no arrays: its caller does. So none is counted by reference, which costs half the time of short functions, and
    far more where two threads count the same.

    A cached function is compiled anew when its own file changes, not when a file it calls into does: what is
    compiled calls only compiled functions of the same file and of this one.
    """
    wrapped: Function = numba.njit(nogil=True, _nrt=False)(function)
    with contextlib.suppress(RuntimeError):  # where the source is no file, as in a zip archive, there is no cache
        wrapped.enable_caching()  # type: ignore[attr-defined]
    return wrapped


@intrinsic
def _memchr(_context: Any, data: Any, _start: Any, _size: Any, _byte: Any) -> Any:
    """C's memchr over `_size` bytes of data from `_start` on: how far from its first byte the byte is found, or below 0."""

    def generate(target: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte_pointer, number, small = ir.IntType(8).as_pointer(), ir.IntType(64), ir.IntType(32)
        array = target.make_array(signature.args[0])(target, builder, args[0])
        begin = builder.gep(builder.bitcast(array.data, byte_pointer), [args[1]])
        kind = ir.FunctionType(byte_pointer, [byte_pointer, small, number])
        found = cgutils.get_or_insert_function(builder.module, kind, "memchr")
        at = builder.call(found, [begin, builder.trunc(args[3], small), args[2]])
        return builder.sub(builder.ptrtoint(at, number), builder.ptrtoint(begin, number))

    return types.int64(data, types.int64, types.int64, types.int64), generate


@compiled
def find_byte(data: Any, i: int, end: int, byte: int) -> int:
    """Position of the first such byte of data[i:end]; `end` where there is none. `data` is an array of uint8 without gaps."""
    if i >= end:
        return end
    far = _memchr(data, np.int64(i), np.int64(end) - np.int64(i), np.int64(byte))
    return i + far if far >= 0 else end


@compiled
def mix(h: Any) -> Any:
    """Spreads every bit of `h` over all 64 (the finalizer of MurmurHash3, variant 13 by D. Stafford)."""
    h = np.uint64(h)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))
