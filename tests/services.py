"""Prefect's server and workers as real processes, for tests of deployments."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from flows.environment import SETTINGS

PATIENCE_S = 240.0
logger = logging.getLogger(__name__)
BIN = Path(sys.executable).parent


def find_free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(is_so: Callable[[], bool], *, why: Callable[[], str] = lambda: "") -> None:
    """Wait until something is so; fail after long patience with what is to be said."""
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end, why()
        time.sleep(0.3)


class Site:
    """Commands and processes of one Prefect home, and what its server says.

    Attributes:
        environment: Environment of every process.
        url: Address of the API.
        running: The server and the worker that were started last, by these names.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self._folder = folder
        self._port = find_free_port()
        self._processes: list[subprocess.Popen[bytes]] = []
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.url = f"http://127.0.0.1:{self._port}/api"
        clean = {key: os.environ[key] for key in os.environ if "PREFECT" not in key}
        self.environment = {
            **clean,
            **SETTINGS,
            "PREFECT_HOME": str(folder / "home"),
            "PREFECT_API_URL": self.url,
            "TMPDIR": str(folder / "tmp"),
            **variables,
        }
        (folder / "tmp").mkdir()

    def run(self, *command: str | Path, cwd: Path | None = None) -> str:
        """Run a command of our environment to its end; return what it printed."""
        done = subprocess.run(
            [BIN / command[0], *command[1:]],
            env=self.environment,
            cwd=cwd or self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, *command: str | Path) -> subprocess.Popen[bytes]:
        """Start a command of our environment, in a process group of its own."""
        with self.log(str(command[1])).open("ab") as log:
            process = subprocess.Popen(
                [BIN / command[0], *command[1:]],
                env=self.environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes.append(process)
        self.running[str(command[1])] = process
        return process

    def start_server(self) -> subprocess.Popen[bytes]:
        """Start the server and wait until it answers."""
        server = self.start(
            "prefect",
            "server",
            "start",
            "--no-ui",
            "--host",
            "127.0.0.1",
            "--port",
            str(self._port),
        )
        wait_until(lambda: server.poll() is not None or self.is_up, why=self.read_logs)
        assert server.poll() is None, self.read_logs()
        return server

    def start_worker(self, pool: str = "vae-anomaly") -> subprocess.Popen[bytes]:
        """Start a worker."""
        return self.start("prefect", "worker", "start", "--pool", pool)

    @property
    def is_up(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2.0):  # noqa: S310
                return True
        except (urllib.error.URLError, OSError):
            return False

    def ask(
        self, path: str, wanted: Mapping[str, Any] | None = None, *, method: str | None = None
    ) -> Any:
        """Send a request to the API, again where it is down for a while; return the answer."""
        request = urllib.request.Request(  # noqa: S310
            f"{self.url}/{path}",
            data=None if wanted is None else json.dumps(wanted).encode(),
            headers={"Content-Type": "application/json"},
            method=method,
        )
        answers: list[bytes] = []

        def is_answered() -> bool:
            try:
                with urllib.request.urlopen(request, timeout=60.0) as response:  # noqa: S310
                    answers.append(response.read())
            except urllib.error.HTTPError as error:
                if error.code < HTTPStatus.INTERNAL_SERVER_ERROR:
                    raise
            except OSError as error:
                logger.info("no answer: %s", error)  # it is down, or busy
            return bool(answers)

        wait_until(is_answered, why=self.read_logs)
        return json.loads(answers[0] or b"null")

    def list_runs(self, name: str, **state: object) -> list[dict[str, Any]]:
        """List the flow runs of a flow, of all that were to start by now, the latest first."""
        runs: list[dict[str, Any]] = self.ask(
            "flow_runs/filter",
            {
                "flows": {"name": {"any_": [name]}},
                "flow_runs": {"expected_start_time": {"before_": now()}},
                "sort": "EXPECTED_START_TIME_DESC",
                "limit": 200,
            },
        )
        return [run for run in runs if all(run[key] == value for key, value in state.items())]

    def wait_for_run(self, name: str, *, num: int = 1, state: str = "COMPLETED") -> None:
        """Wait until so many flow runs of a flow are in a state."""
        wait_until(
            lambda: len(self.list_runs(name, state_type=state)) >= num,
            why=lambda: f"{name}: {self.tell_states(name)}\n{self.read_logs()}",
        )

    def tell_states(self, name: str) -> list[tuple[str, str, str]]:
        return [
            (run["expected_start_time"], run["state_name"], run["state"]["message"])
            for run in self.list_runs(name)
        ]

    def list_logs(self) -> list[Path]:
        return sorted(self._folder.glob("*.log"))

    def log(self, kind: str) -> Path:
        return self._folder / f"{kind}.log"

    def read_logs(self) -> str:
        return "\n".join(
            f"--- {file.name}\n{file.read_text(encoding='utf-8', errors='replace')[-6000:]}"
            for file in self.list_logs()
        )

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill a process and its children as a power cut does."""
        for child in [*list_children(process.pid), process.pid]:
            kill_process(child)
        process.wait()

    def close(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                self.kill(process)


def kill_process(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def list_children(pid: int) -> list[int]:
    """List all processes below one."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        parents[int(stat.parent.name)] = int(fields[1])
    found, level = [], {pid}
    while level:
        level = {child for child, parent in parents.items() if parent in level}
        found += sorted(level)
    return found


def now() -> str:
    """Return the time as the API writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
