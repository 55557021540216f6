"""A PostgreSQL server of a test's own, where PostgreSQL is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from tests.services import find_free_port, wait_until

USER = "keeper"
PASSWORD = "p@ss/word that nobody sees"  # noqa: S105 - of a server that ends with the test


def find_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, None where there is none."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    found = shutil.which("initdb")
    if found:
        folders.append(Path(found).resolve().parent)
    programs = ("initdb", "postgres", "pg_isready")
    complete = [f for f in folders if all((f / program).exists() for program in programs)]
    return complete[-1] if complete else None


class Postgres:
    """A server on loopback, as a user that is not root, since it refuses root."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._data = folder / "data"
        self._folder = folder
        self._port = find_free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._prefix: list[str] = []
        if os.geteuid() == 0:
            user = _find_user()
            os.chown(folder, user.pw_uid, user.pw_gid)
            self._prefix = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}"]
            self._prefix.append("--clear-groups")
        password = folder / "password"
        password.write_text(PASSWORD + "\n", encoding="utf-8")
        secret = ("-U", USER, "--pwfile", password, "-A", "scram-sha-256")
        self._call("initdb", "-D", self._data, *secret, "-E", "UTF8", "--no-sync")

    def address(self, database: str, *, scheme: str = "postgresql") -> str:
        """Return the address of a database, with user and password."""
        secret = quote(PASSWORD, safe="")
        return f"{scheme}://{USER}:{secret}@127.0.0.1:{self._port}/{database}"

    def make_database(self, name: str) -> None:
        from sqlalchemy import create_engine, text

        engine = create_engine(self.address("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()

    def start(self) -> None:
        """Start the server and wait until it answers; after a kill its rests may be there yet."""
        wait_until(self._try_to_start, why=lambda: self.log.read_text(encoding="utf-8"))

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    @property
    def log(self) -> Path:
        return self._folder / "postgres.log"

    def _try_to_start(self) -> bool:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._prefix,
                    self._programs / "postgres",
                    *("-D", self._data, "-p", str(self._port), "-k", self._folder),
                    *("-c", "listen_addresses=127.0.0.1"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
            )
        while self._process.poll() is None:
            if self._answers():
                return True
            time.sleep(0.1)
        return False

    def _answers(self) -> bool:
        command = [self._programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self._port)]
        return subprocess.run(command, check=False).returncode == 0

    def _call(self, program: str, *arguments: str | Path) -> None:
        command = [*self._prefix, self._programs / program, *arguments]
        done = subprocess.run(
            command, cwd=self._folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def _find_user() -> pwd.struct_passwd:
    """Return a user to run the server as."""
    users = {entry.pw_name: entry for entry in pwd.getpwall()}
    return users.get("postgres") or users["nobody"]


@contextmanager
def run_postgres() -> Iterator[Postgres | None]:
    """Make a server in a folder that its user can reach, and start it; None without PostgreSQL."""
    programs = find_programs()
    if programs is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as folder:
        server = Postgres(programs, Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.kill()
