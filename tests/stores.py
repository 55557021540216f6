"""A server that speaks S3, on loopback, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow.fs as pa_fs

REGION = "us-east-1"

SERVER = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("http://{}:{}".format(*server.get_host_and_port()), flush=True)
sys.stdin.read()
server.stop()
"""


@contextmanager
def run_store() -> Iterator[str]:
    """Run the server and give its address.

    In a process of its own, since delta-rs waits without letting threads go on.
    """
    command = [sys.executable, "-c", SERVER]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.stdin.close()


def describe_store(endpoint: str) -> dict[str, str]:
    """Return the environment that names the server, as a person would set it."""
    return {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
    }


def make_bucket(endpoint: str) -> str:
    """Make a bucket of a new name; return its address. The environment holds the keys."""
    name = f"bucket-{uuid.uuid4()}"
    store = pa_fs.S3FileSystem(
        endpoint_override=endpoint, region=REGION, allow_bucket_creation=True
    )
    store.create_dir(name)
    return f"s3://{name}"
