"""Where stored files are: local disk and Google Cloud Storage, listed and read byte for byte as they are stored."""

import glob
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, cast

from hoptrace.schemas.errors import HoptraceError

GS = "gs://"
GS_CHUNK_BYTES = 8 << 20
PATIENCE_S = 20.0
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class StoredFile:
    """A stored file: its path or gs:// address, its size in bytes as stored, when it was written last (UTC microseconds)."""

    path: str
    size: int
    modified: int | None = None


def list_files(pattern: str) -> list[StoredFile]:
    """The files that a path, folder, glob or gs:// pattern names, by path; a folder stands for all files below it.

    `*` stops at `/`, `**` does not. Raises HoptraceError where there is none, or where it cannot be looked at.
    """
    found = list_gs(pattern) if pattern.startswith(GS) else list_local(pattern)
    if not found:
        raise HoptraceError(
            f"{pattern}: names no file; check the path, and quote globs so that the shell leaves them alone"
        )
    return sorted(found, key=lambda file: file.path)


def list_local(pattern: str) -> list[StoredFile]:
    """The files on disk that a path, folder or glob names; raises HoptraceError where one cannot be looked at."""
    starts = [pattern] if os.path.lexists(pattern) else glob.glob(pattern, recursive=True)
    paths = [path for start in starts for path in files_below(start)]
    with refusals(pattern):
        found = [(path, os.stat(path)) for path in dict.fromkeys(paths)]
        return [StoredFile(path, stat.st_size, stat.st_mtime_ns // 1000) for path, stat in found]


def files_below(start: str) -> Iterator[str]:
    """`start` itself where it is a file, else every file below it; raises HoptraceError where a folder is locked."""
    if not os.path.isdir(start):
        yield start
        return
    with refusals(start):
        for folder, _, names in os.walk(start, onerror=raise_it):
            yield from (os.path.join(folder, name) for name in names)


def raise_it(error: OSError) -> None:
    """Raises `error`: os.walk would pass over it."""
    raise error


def list_gs(pattern: str) -> list[StoredFile]:
    """The objects that a gs:// address, folder or pattern names; raises HoptraceError where they cannot be listed."""
    bucket, name = split_gs(pattern)
    fixed = WILD.split(name, maxsplit=1)[0]
    matches = re.compile(glob_regex(name) + r"(?:/.*)?" if name else ".*", re.DOTALL)
    with refusals(pattern):
        listed = gs_client().list_blobs(bucket, prefix=fixed, timeout=PATIENCE_S, retry=gs_retry())
        return [
            StoredFile(f"{GS}{bucket}/{blob.name}", int(blob.size or 0), written_at(blob.updated))
            for blob in listed
            if matches.fullmatch(blob.name) and not blob.name.endswith("/")
        ]


def written_at(moment: datetime | None) -> int | None:
    """A moment in UTC microseconds."""
    return None if moment is None else (moment - EPOCH) // timedelta(microseconds=1)


def split_gs(address: str) -> tuple[str, str]:
    """Bucket and object name of a gs:// address; raises HoptraceError where there is no bucket."""
    bucket, _, name = address.removeprefix(GS).partition("/")
    if not bucket or WILD.search(bucket):
        raise HoptraceError(f"{address}: names no bucket; write gs://BUCKET/PATH")
    return bucket, name.rstrip("/")


def glob_regex(pattern: str) -> str:
    """The regular expression of a glob in which `*` and `?` stop at `/` and `**` does not."""
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[!?[^]]+\])", pattern)
    return "".join(words.get(part) or (char_class(part) if part.startswith("[") else re.escape(part)) for part in parts)


def char_class(part: str) -> str:
    """The regular expression of a glob's [abc], [a-c] or [!abc]; a bracket that ends nowhere is itself."""
    if not part.endswith("]"):
        return re.escape(part)
    inner = part[1:-1].replace("\\", r"\\")
    return f"[^{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"


@contextmanager
def open_file(path: str, start: int = 0) -> Iterator[BinaryIO]:
    """The stored bytes of a file on disk or in gs://, from byte `start` on, never decoded or decompressed on the way.

    Raises HoptraceError where it cannot be opened or read.
    """
    with refusals(path), open_gs(path) if path.startswith(GS) else open_local(path) as stream:
        stream.seek(start)
        yield stream


def open_local(path: str) -> BinaryIO:
    """The stored bytes of a file on disk."""
    return cast(BinaryIO, Path(path).open("rb", buffering=0))


def open_gs(path: str) -> BinaryIO:
    """The stored bytes of an object, read by ranges, all of one generation even if the object is replaced meanwhile."""
    bucket, name = split_gs(path)
    blob = gs_client().bucket(bucket).get_blob(name, timeout=PATIENCE_S, retry=gs_retry())
    if blob is None:
        raise FileNotFoundError(2, "No such object", path)
    return cast(
        BinaryIO, blob.open("rb", chunk_size=GS_CHUNK_BYTES, raw_download=True, timeout=PATIENCE_S, retry=gs_retry())
    )


@cache
def gs_client() -> Any:
    """The client for gs://, one per process: credentials as Google's own tools find them, none for an emulator.

    Raises google.auth's errors where there are none.
    """
    # Read when Google's libraries are imported: where no metadata server answers, they spare most of a minute.
    os.environ.setdefault("GCE_METADATA_TIMEOUT", "1")
    os.environ.setdefault("GCE_METADATA_DETECT_RETRIES", "1")
    from google.cloud import storage

    if os.environ.get("STORAGE_EMULATOR_HOST") and not os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
        return storage.Client(project=os.environ.get("GOOGLE_CLOUD_PROJECT", "emulator"))
    import google.auth

    credentials, project = google.auth.default(scopes=("https://www.googleapis.com/auth/devstorage.read_write",))
    return storage.Client(project=project or "none", credentials=credentials)


def gs_retry() -> Any:
    """How long a request to gs:// is tried again."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(PATIENCE_S)


@contextmanager
def refusals(path: str) -> Iterator[None]:
    """Turns what disk, gs:// and their credentials refuse into a HoptraceError that names `path` and the remedy."""
    try:
        yield
    except OSError as error:
        if path.startswith(GS) and not isinstance(error, FileNotFoundError):
            raise HoptraceError(f"{path}: {said(error)}; check the network, then run again") from error
        raise HoptraceError(f"{path}: cannot be read ({error.strerror or error}); {disk_remedy(error)}") from error
    except Exception as error:
        remedy = gs_remedy(error) if path.startswith(GS) else None
        if remedy is None:
            raise
        raise HoptraceError(f"{path}: {said(error)}; {remedy}") from error


def said(error: BaseException) -> str:
    """The first line of what `error` says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def disk_remedy(error: OSError) -> str:
    """What to do about an error of the disk."""
    if isinstance(error, PermissionError):
        return "run as a user who may read it"
    return "check the path" if isinstance(error, FileNotFoundError | NotADirectoryError) else "check the disk"


def gs_remedy(error: Exception) -> str | None:
    """What to do about an error of Google's libraries; None where it is no such error."""
    from google.api_core.exceptions import Forbidden, GoogleAPIError, NotFound, Unauthorized
    from google.auth.exceptions import GoogleAuthError

    if isinstance(error, GoogleAuthError):
        return "set GOOGLE_APPLICATION_CREDENTIALS to a key file, or run 'gcloud auth application-default login'"
    if isinstance(error, NotFound):
        return "check the bucket's and the object's name"
    if isinstance(error, Forbidden | Unauthorized):
        return "give these credentials the right to list and read the bucket"
    return "check the network, then run again" if isinstance(error, GoogleAPIError) else None
