"""A desk with alert events, and a webhook on loopback."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.notifying import SECRET_VARIABLE, Desk
from tests.receivers import Receiver, run_receiver
from vae_anomaly.config import ChannelConfig
from vae_anomaly.operations.notify.outbox import Entry


@pytest.fixture
def desk(tmp_path) -> Desk:
    return Desk(tmp_path / "lake")


@pytest.fixture
def receiver(monkeypatch) -> Iterator[Receiver]:
    receiver = Receiver()
    monkeypatch.setenv(SECRET_VARIABLE, receiver.secret)
    with run_receiver(receiver):
        yield receiver


@pytest.fixture
def duty(desk, receiver) -> Receiver:
    """The receiver of a channel `duty` of the desk."""
    desk.channels["duty"] = ChannelConfig(
        kind="webhook", url=receiver.url, secret_env=SECRET_VARIABLE
    )
    return receiver


@pytest.fixture
def entry(desk, duty) -> Callable[..., Entry]:
    """Makes a row of the outbox like one that was enqueued."""
    desk.put("a")
    desk.deliver()
    (row,) = desk.rows()
    return lambda **changes: replace(row, **changes)
