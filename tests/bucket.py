"""A bucket in memory, for tests of stores on gs://: the parts of Google's JSON and XML interfaces that a store uses.

Unlike the emulators that can be installed, it speaks both interfaces and refuses writes whose precondition fails.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

LISTED = "/storage/v1/b/"
UPLOADED = "/upload/storage/v1/b/"


class Handler(BaseHTTPRequestHandler):
    """Answers for one bucket, whose objects are `server.objects`: name -> bytes."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    server: "Bucket"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path.startswith(LISTED):
            bucket = parts.path.removeprefix(LISTED).split("/")[0]
            items = [
                {"name": name, "size": str(len(data)), "updated": "2026-03-01T00:00:00.000Z"}
                for name, data in self._named(query.get("prefix", ""))
            ]
            self._answer(200, json.dumps({"items": items})) if bucket == self.server.name else self._answer(404, "{}")
            return
        bucket, _, name = parts.path[1:].partition("/")
        if bucket == self.server.name and not name:
            self._answer(200, self._listing(query))
            return
        data = self.server.objects.get(unquote(name)) if bucket == self.server.name else None
        if data is None:
            self._answer(404, "<Error><Code>NoSuchKey</Code></Error>")
            return
        wanted = self.headers.get("Range")
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start = int(first) if first else max(0, len(data) - int(last))
            end = min(int(last) + 1, len(data)) if first and last else len(data)
            self._answer(206, data[start:end], {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"})
        else:
            self._answer(200, data)

    do_HEAD = do_GET  # noqa: N815

    def do_PUT(self) -> None:
        name = unquote(urlsplit(self.path).path[1:].partition("/")[2])
        data = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            if self.headers.get("x-goog-if-generation-match") == "0" and name in self.server.objects:
                self._answer(412, "<Error><Code>PreconditionFailed</Code></Error>")
                return
            self.server.objects[name] = data
        self._answer(200, b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.path.startswith(f"{UPLOADED}{self.server.name}/o"):
            self._answer(403, json.dumps({"error": {"code": 403, "message": "not allowed"}}))
            return
        _, told, sent = body.split(b"\r\n\r\n", 2)
        name = json.loads(told.split(b"\r\n--", 1)[0])["name"]
        data = sent.rsplit(b"\r\n--", 1)[0]
        self.server.objects[name] = data
        self._answer(200, json.dumps({"name": name, "bucket": self.server.name, "size": str(len(data))}))

    def do_DELETE(self) -> None:
        path = urlsplit(self.path).path
        listed = f"{LISTED}{self.server.name}/o/"
        name = path.removeprefix(listed) if path.startswith(listed) else path[1:].partition("/")[2]
        self.server.objects.pop(unquote(name), None)
        self._answer(204, b"")

    def _named(self, prefix: str) -> list[tuple[str, bytes]]:
        return [(name, data) for name, data in sorted(self.server.objects.items()) if name.startswith(prefix)]

    def _listing(self, query: dict[str, str]) -> str:
        prefix, after = query.get("prefix", ""), query.get("start-after", "")
        found = [(name, len(data)) for name, data in self._named(prefix) if name > after]
        split = query.get("delimiter")
        below = [name[len(prefix) :] for name, _ in found]
        deeper = {prefix + name.split(split)[0] + split for name in below if split in name} if split else set()
        rows = "".join(
            f"<Contents><Key>{escape(name)}</Key><LastModified>2026-03-01T00:00:00.000Z</LastModified>"
            f'<ETag>"{size}"</ETag><Size>{size}</Size></Contents>'
            for name, size in found
            if not any(name.startswith(each) for each in deeper)
        )
        folders = "".join(
            f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>" for each in sorted(deeper)
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}{folders}</ListBucketResult>"

    def _answer(self, status: int, body: bytes | str, headers: dict[str, str] | None = None) -> None:
        data = body.encode() if isinstance(body, str) else body
        told = {"Last-Modified": formatdate(usegmt=True), "ETag": '"1"', "x-goog-generation": "1", **(headers or {})}
        if isinstance(body, str):
            told["Content-Type"] = "application/json" if body.startswith("{") else "application/xml"
        self.send_response(status)
        for name, value in {**told, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


class Bucket(ThreadingHTTPServer):
    """A server with one bucket."""

    daemon_threads = True

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.name = name
        self.objects: dict[str, bytes] = {}
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        """For STORAGE_EMULATOR_HOST."""
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def bucket(name: str) -> Iterator[Bucket]:
    """A running server with the empty bucket `name`."""
    with Bucket(name) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
