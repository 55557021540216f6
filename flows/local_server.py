"""A Prefect server of our own: on this machine only, and never longer than we run."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

from vae_anomaly.errors import VaeAnomalyError

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
USUAL_PORT = 4200
LOG_FILE = "server.log"
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.2


class ServerError(VaeAnomalyError):
    """Prefect's server did not start."""


class LocalServer:
    """Prefect's API, scheduler and pages, in a process that ends when this one does.

    The process reads its standard input, which only we hold: when we end, however that
    happens, it ends too. A signal from the terminal does not reach it, so that flow runs can
    report their end first.

    Attributes:
        url: Address of the pages.
        api_url: Address of the API.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._port = find_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://{HOST}:{self._port}"
        self.api_url = f"{self.url}/api"

    async def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            ServerError: It ended, or does not answer.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / LOG_FILE).open("wb") as log:
            self._process = _start_process(self._port, log)
        end = time.monotonic() + START_TIMEOUT_S
        while not await asyncio.to_thread(_answers, f"{self.api_url}/health"):
            if self._process.poll() is not None or time.monotonic() > end:
                raise ServerError(
                    f"Cannot start Prefect's server at {self.url}: it does not answer. Its "
                    f"messages are in '{self._folder / LOG_FILE}'."
                )
            await asyncio.sleep(POLL_S)

    def stop(self) -> None:
        """Stop the server and wait until it has ended."""
        if self._process is None or self._process.stdin is None:
            return
        self._process.stdin.close()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def find_port() -> int:
    """Return Prefect's usual port, or another one where that is taken."""
    for port in (USUAL_PORT, 0):
        with contextlib.suppress(OSError), socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((HOST, port))
            return int(listener.getsockname()[1])
    raise ServerError(f"Cannot start Prefect's server: no port is free at {HOST}.")


def run_server(port: int) -> None:
    """Serve until standard input ends; the body of the server's own process."""
    import uvicorn
    from prefect.server.api.server import create_app

    threading.Thread(target=_stop_with_parent, daemon=True).start()
    uvicorn.run(
        create_app(final=True),
        host=HOST,
        port=port,
        log_level="warning",
        timeout_graceful_shutdown=5,
    )


def _start_process(port: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "flows.local_server", str(port)],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2.0) as response:  # noqa: S310
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _stop_with_parent() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    run_server(int(sys.argv[1]))
