"""Where a store lies: a local folder or a gs:// prefix, and how Delta Lake, Polars and plain writes reach it."""

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from hoptrace.schemas.errors import HoptraceError
from hoptrace.transforms.storage import gs_client, gs_retry, refusals, split_gs

PATIENCE_S = 4.0


@dataclass(frozen=True)
class Held:
    """A file or object below a root: its path there, its size in bytes, and when it was written."""

    path: str
    size: int
    written_at: datetime


@dataclass(frozen=True)
class Root:
    """One folder: an absolute local path or `gs://bucket/prefix`, without a final slash."""

    url: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def remote(self) -> bool:
        """Whether it is a gs:// prefix."""
        return self.url.startswith("gs://")

    def below(self, *parts: str) -> str:
        """Path or URL of something below it."""
        return "/".join((self.url, *parts))

    def require(self) -> None:
        """Raise HoptraceError, soon, where there is nothing that could be read."""
        if self.remote:
            _require_bucket(self.url)
        elif not os.path.isdir(self.url):
            raise HoptraceError(f"{self.url}: no store here; write one with: hoptrace nightly --store {self.url} ...")

    def prepare(self) -> None:
        """Make the folder where it is missing, and raise HoptraceError where nothing can be written."""
        if self.remote:
            _require_bucket(self.url)
            return
        try:
            os.makedirs(self.url, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.url):
                pass
        except OSError as error:
            raise unwritable(self.url, error) from error

    def write(self, path: str, data: bytes) -> None:
        """Write one new file or object at `path` below the root."""
        if self.remote:
            bucket, name = split_gs(self.below(path))
            with refusals(self.below(path)):
                gs_client().bucket(bucket).blob(name).upload_from_string(data, retry=gs_retry())
            return
        place = Path(self.url, path)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        except OSError as error:
            raise unwritable(str(place), error) from error

    def list(self, folder: str) -> list[Held]:
        """The files or objects in `folder` and below, by path; none where there is no such folder."""
        if self.remote:
            bucket, name = split_gs(self.url)
            cut = len(f"{name}/") if name else 0
            with refusals(self.below(folder)):
                blobs = list(
                    gs_client().list_blobs(bucket, prefix=f"{self.url}/{folder}/".split("/", 3)[3], retry=gs_retry())
                )
            now = datetime.now(timezone.utc)
            held = [Held(blob.name[cut:], int(blob.size or 0), blob.updated or now) for blob in blobs]
        else:
            held = [each for path in Path(self.url, folder).rglob("*") if (each := self._held(path)) is not None]
        return sorted(held, key=lambda each: each.path)

    def _held(self, path: Path) -> Held | None:
        try:
            stat = path.stat()
        except FileNotFoundError:  # taken away since it was listed
            return None
        at = datetime.fromtimestamp(stat.st_mtime, timezone.utc)
        return Held(str(path.relative_to(self.url)), stat.st_size, at) if path.is_file() else None

    def remove(self, path: str) -> None:
        """Remove one file or object, where it still is; never a folder."""
        if self.remote:
            from google.api_core.exceptions import NotFound

            bucket, name = split_gs(self.below(path))
            with refusals(self.below(path)), suppress(NotFound):
                gs_client().bucket(bucket).blob(name).delete(retry=gs_retry())
            return
        try:
            Path(self.url, path).unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(self.below(path), error) from error


def root_of(store: str) -> Root:
    """The root that `--store` names; raises HoptraceError for a scheme that is neither local nor gs://."""
    if store.startswith("gs://"):
        return Root(store.rstrip("/"), _gs_options())
    if "://" in store:
        raise HoptraceError(f"{store}: a store is a local folder or gs://bucket/prefix; give one of these to --store")
    if not store:
        raise HoptraceError("--store is empty; give a local folder or gs://bucket/prefix")
    return Root(os.path.abspath(os.path.expanduser(store)))


def unwritable(place: str, error: Exception) -> HoptraceError:
    """The error for a place where nothing can be written."""
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    return HoptraceError(f"{place}: cannot write here ({reason}); give --store a place that this user may write to")


def _emulator() -> str | None:
    host = os.environ.get("STORAGE_EMULATOR_HOST")
    return host if not host or "://" in host else f"http://{host}"


def _gs_options() -> dict[str, str]:
    emulator = _emulator()
    if emulator:
        nobody = {"client_email": "", "private_key": "", "private_key_id": ""}
        key = {"gcs_base_url": emulator, "disable_oauth": True, **nobody}
        return {"service_account_key": json.dumps(key), "allow_http": "true"}
    return {}


def _require_bucket(url: str) -> None:
    bucket, prefix = split_gs(url)
    with refusals(url):
        list(gs_client().list_blobs(bucket, prefix=prefix, max_results=1, timeout=PATIENCE_S, retry=None))
