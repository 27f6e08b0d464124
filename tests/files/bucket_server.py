"""A server that speaks S3's protocol, in a process of its own."""

import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import HTTPError, URLError

__all__ = ("bucket_server",)


@contextmanager
def bucket_server(bucket: str) -> Iterator[str]:
    """Run a server with an empty bucket; returns its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        while not _made(f"{address}/{bucket}"):
            assert process.poll() is None, "the server of the bucket did not start"
        yield address
    finally:
        process.kill()
        process.wait()


def _made(url: str) -> bool:
    """Try to create a bucket."""
    request = urllib.request.Request(url, method="PUT")
    try:
        with urllib.request.urlopen(request, timeout=10):
            return True
    except HTTPError:
        raise
    except (URLError, OSError):
        os.sched_yield()
        return False
