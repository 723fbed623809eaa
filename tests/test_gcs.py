"""gs://: listing and reading from an emulator, refusals within seconds, and credentials that really arrive."""

import base64
import gzip
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest

from hoptrace.pipeline.inputs import plan_inputs
from hoptrace.schemas.errors import HoptraceError
from hoptrace.schemas.fleet import DAY_US, Fleet
from hoptrace.transforms import storage
from hoptrace.transforms.read import Chunk, FileReport, Range, read_chunks
from hoptrace.transforms.storage import list_files
from tests.gcs import emulator

NEW_YEAR_US = 1_767_225_600_000_000  # 2026-01-01 00:00 UTC
LINES = b"".join(
    b"2026-01-01T06:%02d:%02d.5+00:00 mx01 postfix/qmgr[%d]: x\n" % (n // 60 % 60, n % 60, n) for n in range(3000)
)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with emulator() as address:
        yield address


@pytest.fixture
def bucket(address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    storage.gs_client.cache_clear()
    client = storage.gs_client()
    name = f"logs-{time.time_ns()}"
    yield client.create_bucket(name)
    storage.gs_client.cache_clear()


def read_all(r: Range) -> tuple[bytes, FileReport]:
    *chunks, report = read_chunks(r, 1 << 12)
    assert isinstance(report, FileReport)
    return b"".join(chunk.data for chunk in chunks if isinstance(chunk, Chunk)), report


def fill(bucket: Any) -> str:
    names = {
        "mx01/mail.log": LINES,
        "mx01/mail.log.1.gz": gzip.compress(LINES),
        "mx02/deep/mail.log": LINES,
        "other.txt": b"x\n",
    }
    for name, content in names.items():
        bucket.blob(name).upload_from_string(content)
    return f"gs://{bucket.name}"


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("/mx01/mail.log", ["mx01/mail.log"]),
        ("/mx01/*", ["mx01/mail.log", "mx01/mail.log.1.gz"]),
        ("/mx0?/*.gz", ["mx01/mail.log.1.gz"]),
        ("/*/mail.log", ["mx01/mail.log"]),
        ("/**/mail.log", ["mx01/mail.log", "mx02/deep/mail.log"]),
        ("/mx0[!1]", ["mx02/deep/mail.log"]),
        ("/mx01", ["mx01/mail.log", "mx01/mail.log.1.gz"]),
        ("/mx02/", ["mx02/deep/mail.log"]),
        ("", ["mx01/mail.log", "mx01/mail.log.1.gz", "mx02/deep/mail.log", "other.txt"]),
    ],
)
def test_patterns(bucket: Any, pattern: str, found: list[str]) -> None:
    top = fill(bucket)
    assert [file.path for file in list_files(top + pattern)] == [f"{top}/{name}" for name in found]


def test_files_are_read_by_ranges_and_gz_whole(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "GS_CHUNK_BYTES", 256 << 10)
    top = fill(bucket)
    ranges = plan_inputs([f"{top}/mx01/*"], Fleet(), NEW_YEAR_US, NEW_YEAR_US + DAY_US, 20_000)
    plain, packed = [r for r in ranges if r.end is not None], [r for r in ranges if r.end is None]
    assert (len(plain), len(packed)) == (8, 1)
    assert b"".join(read_all(r)[0] for r in plain) == LINES
    assert sum(read_all(r)[1].stored_bytes for r in plain) == len(LINES)
    text, report = read_all(packed[0])
    assert (text, report.error, report.lines) == (LINES, None, 3000)


def test_objects_stored_with_content_encoding_are_read_as_they_are_stored(bucket: Any) -> None:
    blob = bucket.blob("mx01/mail.log")
    blob.content_encoding = "gzip"
    blob.upload_from_string(gzip.compress(LINES))
    (r,) = plan_inputs([f"gs://{bucket.name}/mx01"], Fleet(), NEW_YEAR_US, NEW_YEAR_US + DAY_US, 20_000)
    text, report = read_all(r)
    assert (text, report.error, report.stored_bytes) == (LINES, None, len(gzip.compress(LINES)))


def test_a_cut_object_is_told(bucket: Any) -> None:
    bucket.blob("cut").upload_from_string(gzip.compress(LINES)[:-300])
    (r,) = plan_inputs([f"gs://{bucket.name}/cut"], Fleet(), NEW_YEAR_US, NEW_YEAR_US + DAY_US, 20_000)
    text, report = read_all(r)
    assert LINES.startswith(text)
    assert "truncated" in str(report.error)
    bucket.blob("cut").delete()
    with pytest.raises(HoptraceError, match=r"cannot be read \(No such object\)"):
        read_all(r)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("gs://nobody-has-this/mail.log", "check the bucket's and the object's name"),
        ("gs://", "names no bucket; write gs://BUCKET/PATH"),
        ("gs://*/mail.log", "names no bucket"),
    ],
)
def test_missing_buckets_are_told_at_once(bucket: Any, pattern: str, said: str) -> None:
    begun = time.monotonic()
    with pytest.raises(HoptraceError) as error:
        list_files(pattern)
    assert str(error.value).startswith(f"{pattern}: ")
    assert said in str(error.value)
    assert time.monotonic() - begun < 5


def test_a_bucket_without_such_an_object_is_told(bucket: Any) -> None:
    with pytest.raises(HoptraceError, match="names no file"):
        list_files(f"gs://{bucket.name}/nothing*")


@pytest.mark.parametrize("before", ["", "import apache_beam.io.gcp.gcsfilesystem; "], ids=["alone", "after Beam"])
def test_no_credentials_are_told_at_once(tmp_path: Path, before: str) -> None:
    """In a process of its own: what Google's library learns of its surroundings it keeps."""
    program = before + "from hoptrace.transforms.storage import list_files; import time; begun = time.monotonic()\n"
    program += "try: list_files('gs://some-bucket/mail.log')\nfinally: print(time.monotonic() - begun)"
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        metadata = f"127.0.0.1:{silent.getsockname()[1]}"
        nowhere = {"HOME": str(tmp_path), "CLOUDSDK_CONFIG": str(tmp_path), "GCE_METADATA_IP": metadata}
        done = run_python(program, nowhere | {"GCE_METADATA_HOST": metadata})
    assert done.returncode == 1
    assert "HoptraceError: gs://some-bucket/mail.log: " in done.stderr
    assert "set GOOGLE_APPLICATION_CREDENTIALS to a key file" in done.stderr
    assert float(done.stdout) < 5


def run_python(program: str, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """The outcome of `program` in a fresh Python that has no credentials but those of `environment`."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST")
    }
    return subprocess.run(
        [sys.executable, "-c", program],
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class Guarded(BaseHTTPRequestHandler):
    """Hands out one bearer token, and one object to whoever shows it; keeps what it was asked."""

    asked: list[tuple[str, str | None]]
    grants: list[dict[str, Any]]

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        claims = form["assertion"][0].split(".")[1]
        self.grants.append(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))))
        self.answer({"access_token": "token-of-the-test", "token_type": "Bearer", "expires_in": 3600})

    def do_GET(self) -> None:
        path = unquote(self.path)
        self.asked.append((path, self.headers.get("Authorization")))
        if self.headers.get("Authorization") != "Bearer token-of-the-test":
            self.answer({"error": {"code": 401, "message": "who are you"}}, 401)
            return
        entry = {
            "kind": "storage#object",
            "name": "mail.log",
            "bucket": "guarded",
            "size": str(len(LINES)),
            "generation": "1",
        }
        entry |= {"updated": "2026-01-01T00:00:00Z", "timeCreated": "2026-01-01T00:00:00Z", "contentType": "text/plain"}
        if "alt=media" in path:
            first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
            part = LINES[int(first) : int(last or len(LINES)) + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(LINES)}")
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            self.wfile.write(part)
        elif "/o/mail.log" in path:
            self.answer(entry)
        elif "/o" in path:
            self.answer({"kind": "storage#objects", "items": [entry]})
        else:
            self.answer({"kind": "storage#bucket", "name": "guarded"})

    def answer(self, content: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""


@contextmanager
def guarded(tmp_path: Path) -> Iterator[tuple[dict[str, str], type[Guarded]]]:
    """The environment in which a service account's key file opens a guarded storage, and what that storage is asked."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    handler = type("OneGuarded", (Guarded,), {"asked": [], "grants": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account",
        "project_id": "test",
        "private_key_id": "1",
        "private_key": key.decode(),
        "client_email": "hoptrace@test.invalid",
        "client_id": "1",
        "token_uri": f"{address}/token",
    }
    key_file = tmp_path / "key.json"
    key_file.write_text(json.dumps(account))
    try:
        yield {"GOOGLE_APPLICATION_CREDENTIALS": str(key_file), "STORAGE_EMULATOR_HOST": address}, handler
    finally:
        server.shutdown()
        server.server_close()


OURS = """
from hoptrace.transforms.read import Range, read_chunks
from hoptrace.transforms.storage import list_files
(file,) = list_files("gs://guarded/*.log")
*chunks, report = read_chunks(Range(file.path, 0, file.size, file.size, 0, "mx01", True, True), 1 << 20)
assert report.error is None, report
print(report.lines)
"""
BEAMS = """
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
FileSystems.set_options(PipelineOptions(["--project=test"]))
(match,) = FileSystems.match(["gs://guarded/mail.log"])
with FileSystems.open(match.metadata_list[0].path) as stream:
    print(stream.read(10_000_000).count(10))
"""


@pytest.mark.parametrize("program", [OURS, BEAMS], ids=["ours", "Beam's"])
def test_a_service_accounts_key_file_is_really_used(tmp_path: Path, program: str) -> None:
    with guarded(tmp_path) as (environment, storage):
        done = run_python(program, environment)
    assert done.stdout.strip() == "3000", done.stderr
    assert {claims["iss"] for claims in storage.grants} == {"hoptrace@test.invalid"}
    assert len(storage.asked) >= 2
    assert {token for _, token in storage.asked} == {"Bearer token-of-the-test"}


def test_a_refused_token_is_told(tmp_path: Path) -> None:
    with guarded(tmp_path) as (environment, storage):
        storage.do_GET = lambda self: self.answer({"error": {"code": 403, "message": "not you"}}, 403)  # type: ignore[method-assign]
        done = run_python(OURS, environment)
    assert done.returncode == 1
    assert "gs://guarded/*.log: 403 GET" in done.stderr
    assert "give these credentials the right to list and read the bucket" in done.stderr
