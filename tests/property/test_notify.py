"""Whatever happens to alert events and receivers: what arrives makes sense to a person."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.notifying import SECRET_VARIABLE, Desk
from tests.receivers import Receiver, run_receiver
from vae_anomaly.config import ChannelConfig
from vae_anomaly.operations.notify.enqueue import enqueue_messages

STEPS = st.one_of(
    st.tuples(
        st.just("put"),
        st.sampled_from("ab"),
        st.sampled_from(["open", "superseded", "resolved", "acknowledged"]),
        st.booleans(),
    ),
    st.tuples(st.just("enqueue")),
    st.tuples(st.just("deliver"), st.sampled_from([200, 200, 500])),
)


@pytest.fixture(scope="module")
def receiver():
    receiver = Receiver()
    with pytest.MonkeyPatch.context() as patch, run_receiver(receiver):
        patch.setenv(SECRET_VARIABLE, receiver.secret)
        yield receiver


@given(steps=st.lists(STEPS, max_size=8), group=st.booleans())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_beginnings_and_ends_alternate_and_the_last_word_is_true(receiver, steps, group):
    receiver.answers.clear()
    receiver.requests.clear()
    receiver.taken.clear()
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder) / "lake")
        desk.channels["duty"] = ChannelConfig(
            kind="webhook", url=receiver.url, secret_env=SECRET_VARIABLE, max_per_hour=0
        )
        now_us = desk.clock.now_us
        state: dict[str, tuple[str, bool]] = {}

        def put(name: str, status: str, *, muted: bool) -> None:
            start_min = (now_us - desk.clock.now_us) / 60e6 - 10
            options = {"mute": "m" if muted else "", "group_id": "g" if group else ""}
            desk.put(name, start_min=start_min, asset=name, status=status, **options)
            state[name] = (status, muted)

        for step in steps:
            if step[0] == "put":
                put(step[1], step[2], muted=step[3])
            elif step[0] == "enqueue":
                enqueue_messages(desk.config, now_us=desk.clock())
            else:
                receiver.answers[:] = [(step[1], {})] * 9
                desk.deliver()
                receiver.answers.clear()
            desk.clock.forward(hours=1)
        for _ in range(2):
            desk.deliver()
            desk.clock.forward(hours=1)
        before = len(receiver.requests)
        desk.deliver()
        assert len(receiver.requests) == before  # all is said
        for name, (status, muted) in state.items():
            heard = [what for what, asset in receiver.events if asset == name]
            assert heard[::2] == ["opened"] * len(heard[::2])
            assert "opened" not in heard[1::2]
            is_told = len(heard) % 2 == 1
            if not muted and status == "open":
                assert is_told
            if not muted and status in {"superseded", "resolved"}:
                assert not is_told
