"""A storage emulator on a free port, for tests of gs://."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.error import URLError
from urllib.request import urlopen


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def emulator() -> Iterator[str]:
    """The address of a running gcp-storage-emulator that keeps everything in memory."""
    port = free_port()
    program = "from gcp_storage_emulator.__main__ import main; main()"
    command = [sys.executable, "-c", program, "start", "--host", "127.0.0.1", "--port", str(port), "--in-memory"]
    server = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"NO_PROXY": "*"}
    )
    try:
        wait_until_up(f"http://127.0.0.1:{port}/", server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


def wait_until_up(address: str, server: "subprocess.Popen[bytes]") -> None:
    """Returns when `address` answers; raises RuntimeError where it does not within 20 s."""
    for _ in range(200):
        if server.poll() is not None:
            break
        try:
            with urlopen(address, timeout=1):
                return
        except URLError as error:
            if not isinstance(error.reason, OSError):
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"no storage emulator at {address}")
