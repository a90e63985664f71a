"""A real server for tests: ``transformers serve``, in a process of its own, reads the models that it is asked for."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["MICRO", "STORIES", "transformers_server"]

MICRO = Path(__file__).parents[1] / "selfreward_bench" / "data" / "micro" / "base"
STORIES = Path(os.environ.get("SRBENCH_DATA_DIR", "/nowhere")).resolve() / "stories260k" / "hf_derived"

_SECONDS = 150  # to start


@contextmanager
def transformers_server(folder: Path) -> Iterator[str]:
    """Serves while the block lasts; its address.

    Args:
        folder: gets the server's log and caches.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).parent / "transformers"
    start = [str(program), "serve", "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    log = folder / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(start, stdout=output, stderr=output, env=os.environ | {"HF_HOME": str(folder)})
    try:
        _wait_for(port, server, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(10)


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    pytest.fail(f"the server did not start: {log.read_text()[-2000:]}")
