"""Delivery: at least once, the same key on every try, nothing lost while a receiver is down."""

import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.conftest import PROJECT
from tests.notifying import NOW, SECRET_VARIABLE, URL_VARIABLE
from tests.pages import read_blocks
from tests.receivers import Receiver, find_free_port, run_receiver
from vae_anomaly.config import ChannelConfig
from vae_anomaly.errors import NotifyError, TableError
from vae_anomaly.operations.notify.backoff import MAX_DELAY_S, find_delay_us
from vae_anomaly.operations.notify.deliver import NotifyResult
from vae_anomaly.operations.notify.manage import (
    check_channels,
    list_messages,
    retry_messages,
    send_test,
)
from vae_anomaly.operations.notify.messages import seal_messages
from vae_anomaly.readings.lock import hold_lock

US_PER_H = 3_600_000_000


def test_what_is_sent_says_all_there_is_to_know(desk, duty):
    desk.put("a", reasons=["flat_line: flow"])
    assert desk.deliver() == NotifyResult(num_enqueued=1, num_sent=1)
    (body,) = duty.taken.values()
    (event,) = body["events"]
    assert body["key"] == duty.keys[0] == desk.rows()[0].key
    assert body["channel"] == "duty"
    assert event["alert_id"] == "a"
    assert event["ratio"] == 6.2
    assert event["top_sensors"] == ["flow", "pressure"]
    assert event["reasons"] == ["flat_line: flow"]
    assert event["start"] == "2026-05-01T02:50:00Z"
    (attempt,) = desk.rows()[0].attempts
    assert (attempt.at_us, attempt.arrived) == (desk.clock.now_us, "yes")
    assert attempt.answer.startswith("HTTP 200 OK: noted v1=")


def test_a_receiver_that_is_down_for_a_day_misses_nothing(desk, monkeypatch):
    monkeypatch.setenv(SECRET_VARIABLE, "s3cret-key")
    port = find_free_port()
    address = f"http://127.0.0.1:{port}/hook"
    desk.channels["duty"] = ChannelConfig(kind="webhook", url=address, secret_env=SECRET_VARIABLE)
    for hour in range(24):
        if hour < 3:
            desk.put(f"a{hour}", asset=f"pump-{hour}")
        desk.deliver()
        desk.clock.forward(hours=1)
    rows = desk.rows()
    assert {row.status for row in rows} == {"pending"}
    assert all(len(row.attempts) >= 3 for row in rows)
    assert {attempt.arrived for row in rows for attempt in row.attempts} == {"no"}
    assert "Connection refused" in rows[0].last_error
    with run_receiver(Receiver(), port=port) as receiver:
        for _ in range(3):
            desk.deliver()
            desk.clock.forward(hours=1)
    assert sorted(receiver.events) == [("opened", f"pump-{k}") for k in range(3)]
    assert len(receiver.requests) == 3
    assert {row.status for row in desk.rows()} == {"sent"}


def test_server_errors_are_tried_again_with_the_same_key_and_body(desk, duty):
    duty.answers += [(500, {}), (503, {}), (408, {})]
    desk.put("a")
    for _ in range(4):
        desk.deliver()
        desk.clock.forward(hours=1)
    assert len(duty.requests) == 4
    assert len(set(duty.keys)) == 1
    assert len({body for _, body in duty.requests}) == 1
    (row,) = desk.rows()
    assert (row.status, row.tries, row.last_error) == ("sent", 4, "")
    assert [attempt.arrived for attempt in row.attempts] == ["no", "no", "no", "yes"]


def test_signatures_differ_with_the_time(desk, duty):
    duty.answers.append((500, {}))
    desk.put("a")
    desk.deliver()
    desk.clock.forward(hours=1)
    desk.deliver()
    names = ("X-Vae-Anomaly-Timestamp", "X-Vae-Anomaly-Signature")
    first, second = (tuple(headers[name] for name in names) for headers, _ in duty.requests)
    assert first[0] == str(int(NOW.timestamp()))
    assert first[0] != second[0]
    assert first[1] != second[1]


def test_the_code_of_the_documentation_tells_a_genuine_message_from_others(desk, duty):
    desk.put("a")
    desk.deliver()
    (headers, body), now_s = duty.requests[0], NOW.timestamp()
    blocks = read_blocks(PROJECT / "docs/how-to/get-notified.md")
    (code,) = [block.text for block in blocks if block.language == "python"]
    found: dict[str, Callable[..., bool]] = {}
    exec(code, found)  # noqa: S102 - our own page
    is_genuine = found["is_genuine"]
    assert is_genuine(duty.secret, headers, body, now_s=now_s)
    assert not is_genuine("another", headers, body, now_s=now_s)
    assert not is_genuine(duty.secret, headers, body + b" ", now_s=now_s)
    assert not is_genuine(duty.secret, headers, body, now_s=now_s + 301)
    later = headers | {"X-Vae-Anomaly-Timestamp": str(int(now_s) + 300)}
    assert not is_genuine(duty.secret, later, body, now_s=now_s + 300)


def test_a_try_too_early_is_not_made(desk, duty):
    duty.answers.append((500, {}))
    desk.put("a")
    assert desk.deliver().num_again == 1
    desk.clock.forward(seconds=20)
    assert desk.deliver().num_waiting == 1
    assert len(duty.requests) == 1


def test_delays_double_up_to_an_hour_and_depend_on_the_key_alone():
    delays = [find_delay_us("k", tries=tries) / 1e6 for tries in range(1, 12)]
    for tries, delay in enumerate(delays, start=1):
        whole = min(60 * 2 ** (tries - 1), MAX_DELAY_S)
        assert whole / 2 <= delay < whole
    assert delays == [find_delay_us("k", tries=tries) / 1e6 for tries in range(1, 12)]
    assert len({find_delay_us(f"k{k}", tries=1) for k in range(20)}) == 20


@pytest.mark.parametrize(
    ("asked", "hours"),
    [
        ("7200", 2.0),
        ("Fri, 01 May 2026 06:00:00 GMT", 3.0),
        ("Fri, 01 May 2026 05:00:00 -0000", 2.0),
        ("999999", 24.0),
    ],
)
def test_retry_after_is_kept_to_by_all_messages_of_the_channel(desk, duty, asked, hours):
    duty.answers.append((429, {"Retry-After": asked}))
    desk.put("a")
    desk.deliver()
    assert desk.rows()[0].due_us == desk.clock.now_us + int(hours * US_PER_H)
    desk.put("b", start_min=-3)
    desk.clock.forward(hours=hours - 0.01)
    desk.deliver()
    assert len(duty.requests) == 1
    desk.clock.forward(hours=0.01)
    desk.deliver()
    assert len(duty.taken) == 2


@pytest.mark.parametrize("asked", ["soon", "-3", "Fri, 99 May"])
def test_a_retry_after_that_says_nothing_is_as_none(desk, duty, asked):
    duty.answers.append((503, {"Retry-After": asked}))
    desk.put("a")
    desk.deliver()
    assert desk.rows()[0].due_us <= desk.clock.now_us + 60_000_000


@pytest.mark.parametrize("status", [400, 401, 404, 410, 422])
def test_a_refusal_is_final(desk, duty, status):
    duty.answers.append((status, {}))
    desk.put("a")
    assert desk.deliver().num_failed == 1
    desk.clock.forward(hours=2)
    desk.deliver()
    assert len(duty.requests) == 1
    (row,) = desk.rows()
    assert (row.status, row.reason) == ("failed", "the receiver refused it")
    assert row.last_error.startswith(f"HTTP {status}")


def test_the_end_of_what_was_refused_is_not_told(desk, duty):
    duty.answers.append((400, {}))
    desk.put("a")
    desk.deliver()
    desk.put("a", status="resolved")
    desk.deliver()
    assert len(duty.requests) == 1


def test_what_failed_can_be_sent_again_with_its_key(desk, duty):
    duty.answers.append((400, {}))
    desk.put("a")
    desk.deliver()
    (again,) = retry_messages(desk.config, clock=desk.clock)
    desk.deliver()
    assert duty.keys == [again.key, again.key]
    assert [row.status for row in desk.rows()] == ["sent"]
    assert retry_messages(desk.config) == ()


def test_what_expired_can_be_sent_by_its_key(desk, duty):
    desk.put("a", start_min=-60 * 24 * 10)
    desk.deliver()
    key = desk.rows()[0].key
    retry_messages(desk.config, key=key[:10], clock=desk.clock)
    desk.deliver()
    assert duty.events == [("opened", "pump-07")]
    with pytest.raises(NotifyError, match="expected a row that failed or expired, got one that"):
        retry_messages(desk.config, key=key)
    with pytest.raises(NotifyError, match="expected the key of one row of the outbox, got that"):
        retry_messages(desk.config, key="nothing")


def test_all_of_a_message_are_sent_again_together(desk, duty):
    duty.answers.append((400, {}))
    for name in "ab":
        desk.put(name, asset=name, group_id="g")
    desk.deliver()
    retry_messages(desk.config, key=desk.rows()[0].key, clock=desk.clock)
    desk.deliver()
    assert len(duty.events) == 2
    assert len(set(duty.keys)) == 1


def test_what_is_tried_in_vain_for_long_is_given_up(desk, duty):
    desk.options["give_up_h"] = 5
    duty.answers += [(500, {})] * 30
    desk.put("a")
    for _ in range(9):
        desk.deliver()
        desk.clock.forward(hours=1)
    (row,) = desk.rows()
    assert (row.status, row.reason) == ("failed", "given up (notify.give_up_h)")


def test_a_receiver_that_does_not_answer_in_time_may_have_it(desk, duty):
    desk.change("duty", timeout_s=0.05)
    duty.delay_s = 0.3
    desk.put("a")
    desk.deliver()
    (row,) = desk.rows()
    assert (row.status, row.arrived) == ("pending", "unknown")
    assert row.last_error.startswith("no answer: ReadTimeout")


def test_an_answer_that_breaks_off_counts_by_its_status(desk, duty):
    duty.answers.append((200, {"Content-Length": "5000"}))
    desk.put("a")
    assert desk.deliver().num_sent == 1
    assert desk.rows()[0].attempts[0].answer.endswith("(cut off: RemoteProtocolError)")


def test_a_long_answer_is_cut_off(desk, duty):
    duty.padding = 1_000_000
    desk.put("a")
    assert desk.deliver().num_sent == 1
    assert len(desk.rows()[0].attempts[0].answer) == 300


def test_redirects_are_not_followed(desk, duty, monkeypatch):
    with run_receiver(Receiver()) as other:
        duty.answers += [(307, {"Location": other.url}), (302, {"Location": "/elsewhere"})]
        desk.put("a")
        for _ in range(2):
            desk.deliver()
            assert "redirects are not followed" in desk.rows()[0].last_error
            desk.clock.forward(hours=1)
        desk.deliver()
    assert other.requests == []
    assert duty.events == [("opened", "pump-07")]


def test_a_receiver_in_trouble_is_left_alone_and_the_others_go_on(desk, duty):
    with run_receiver(Receiver()) as other:
        desk.channels["other"] = ChannelConfig(
            kind="webhook", url=other.url, secret_env=SECRET_VARIABLE
        )
        for name in "abc":
            desk.put(name, asset=name)
        duty.answers.append((500, {}))
        result = desk.deliver()
    assert (len(duty.requests), len(other.taken)) == (1, 3)
    assert (result.num_sent, result.num_again, result.num_waiting) == (3, 1, 3)
    desk.deliver()
    assert len(duty.taken) == 2


def test_a_message_that_never_gets_through_does_not_hold_up_the_others(desk, duty):
    duty.poison = "a"
    for name in "abc":
        desk.put(name, asset=name)
    for _ in range(4):
        desk.deliver()
        desk.clock.forward(hours=1)
    assert sorted(duty.events) == [("opened", "b"), ("opened", "c")]
    assert len(duty.requests) > 4


def test_a_wrong_secret_is_seen_by_the_receiver(desk, duty, monkeypatch):
    monkeypatch.setenv(SECRET_VARIABLE, "another")
    desk.put("a")
    assert desk.deliver().num_failed == 1
    assert duty.taken == {}


def test_without_its_secret_a_channel_waits_and_the_others_go_on(desk, duty, monkeypatch):
    desk.channels["broken"] = ChannelConfig(
        kind="webhook",
        url=duty.url,
        secret_env="TEST_NO_SECRET",  # noqa: S106 - the name of a variable
    )
    desk.put("a")
    result = desk.deliver()
    assert result.num_sent == 1
    (problem,) = result.problems
    expected = (
        "Cannot send through channel 'broken': expected the key of the signature in the "
        "environment variable TEST_NO_SECRET, got nothing. Set it where the pipeline runs."
    )
    assert problem == expected
    assert [(item.name, item.problem) for item in check_channels(desk.config)] == [
        ("duty", ""),
        ("broken", expected),
    ]
    with pytest.raises(NotifyError, match="TEST_NO_SECRET"):
        send_test(desk.config, "broken")
    monkeypatch.setenv("TEST_NO_SECRET", duty.secret)
    assert desk.deliver().num_sent == 1


def test_secrets_are_nowhere_in_tables_and_answers(desk, duty, monkeypatch):
    monkeypatch.setenv(URL_VARIABLE, duty.url + "/T0K3N-path?key=T0K3N-query")
    desk.channels["duty"] = ChannelConfig(
        kind="webhook", url_env=URL_VARIABLE, secret_env=SECRET_VARIABLE
    )
    duty.answers.append((500, {}))
    desk.put("a")
    desk.deliver()
    monkeypatch.setenv(URL_VARIABLE, f"http://127.0.0.1:{find_free_port()}/T0K3N-path")
    desk.clock.forward(hours=1)
    desk.deliver()
    text = repr(list_messages(desk.config))
    assert text.count("Attempt(") == 2
    assert "T0K3N" not in text
    assert duty.secret not in text


def test_an_address_that_is_none_is_refused_without_showing_it(desk, duty, monkeypatch):
    monkeypatch.setenv(URL_VARIABLE, "hunter2.example/T0K3N")
    desk.channels["duty"] = ChannelConfig(
        kind="webhook", url_env=URL_VARIABLE, secret_env=SECRET_VARIABLE
    )
    (check,) = check_channels(desk.config)
    assert "expected an address that begins with https://" in check.problem
    assert URL_VARIABLE in check.problem
    assert "hunter2" not in check.problem


def test_a_test_message_says_what_the_receiver_answered(desk, duty):
    answer = send_test(desk.config, "duty", clock=desk.clock)
    assert answer.arrived == "yes"
    assert answer.text.startswith("HTTP 200 OK: noted")
    assert duty.events == [("test", "no asset")]
    assert desk.rows() == []
    duty.answers.append((403, {}))
    assert send_test(desk.config, "duty").text.startswith("HTTP 403 Forbidden")


def test_a_channel_that_there_is_not_cannot_be_tested(desk, duty):
    with pytest.raises(NotifyError, match="there is 'duty'; did you mean 'duty'"):
        send_test(desk.config, "dutty")


def test_only_one_process_delivers(desk, duty, monkeypatch):
    desk.put("a")
    monkeypatch.setattr("vae_anomaly.operations.notify.deliver.WAIT_S", 0.0)
    with hold_lock(str(desk.root), "notify"), pytest.raises(TableError, match="Cannot notify"):
        desk.deliver()
    assert duty.requests == []


@pytest.mark.parametrize(("digest", "hours"), [("hourly", 1), ("daily", 21)])
def test_a_digest_is_one_message_at_the_end_of_its_period(desk, duty, digest, hours):
    desk.change("duty", digest=digest, max_per_hour=1)
    for name in "abc":
        desk.put(name, asset=name)
        desk.deliver()
    assert duty.requests == []
    desk.clock.forward(hours=hours - 0.01)
    assert desk.deliver().num_waiting == 3
    desk.clock.forward(hours=0.01)
    assert desk.deliver().num_sent == 1
    assert sorted(duty.events) == [("opened", "a"), ("opened", "b"), ("opened", "c")]
    assert desk.deliver().num_waiting == 0


def test_what_comes_while_a_digest_cannot_be_sent_goes_into_the_next(desk, duty):
    """What is in a message is settled before its first try, so its key stays the same."""
    desk.change("duty", digest="hourly")
    desk.put("a", asset="a")
    desk.deliver()
    desk.clock.forward(hours=1)
    duty.answers.append((500, {}))
    desk.deliver()
    desk.put("b", asset="b")
    desk.deliver()
    desk.clock.forward(hours=1)
    desk.deliver()
    assert len(set(duty.keys)) == 2
    assert duty.keys[0] in duty.taken
    assert sorted(duty.events) == [("opened", "a"), ("opened", "b")]


def test_a_group_is_one_message_where_the_channel_asks_for_it(desk, duty):
    desk.channels["single"] = ChannelConfig.model_validate(
        desk.channels["duty"].model_dump() | {"group": False}
    )
    for name in "abc":
        desk.put(name, asset=name, group_id="" if name == "c" else "line-4")
    assert desk.deliver().num_sent == 2 + 3
    sizes = [(body["channel"], len(body["events"])) for body in duty.taken.values()]
    assert sorted(sizes) == [("duty", 1), ("duty", 2)] + [("single", 1)] * 3


def test_beyond_the_limit_of_an_hour_the_rest_is_one_message(desk, duty):
    desk.change("duty", max_per_hour=3)
    for k in range(10):
        desk.put(f"a{k}", asset=f"p{k}", severity="high" if k == 9 else "low")
    assert desk.deliver().num_sent == 3
    sizes = [len(body["events"]) for body in duty.taken.values()]
    assert sorted(sizes) == [1, 1, 8]
    assert duty.events[0] == ("opened", "p9")  # the most severe is on its own
    desk.put("late", asset="late")
    assert desk.deliver().num_waiting == 1
    assert len(duty.requests) == 3
    desk.clock.forward(hours=1)
    assert desk.deliver().num_sent == 1
    assert ("opened", "late") in duty.events


def test_sealing_leaves_alone_what_is_not_due(desk, entry):
    rows = [
        entry(status="pending", message="", due_us=desk.clock.now_us + 1),
        entry(key="b", status="sent", message="b"),
        entry(key="c", status="pending", message="c"),
    ]
    assert seal_messages(rows, desk.channels["duty"], now_us=desk.clock.now_us) == ([], 0)


KILLED = """
import os, signal, sys
from vae_anomaly.config import read_pipeline_config
from vae_anomaly.operations.notify import deliver
real = deliver._write
if sys.argv[2] == "kill":
    deliver._write = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
clock = lambda: int(sys.argv[3])
deliver.deliver_messages(read_pipeline_config(sys.argv[1]), clock=clock)
"""


def test_a_kill_between_post_and_write_sends_again_with_the_same_key(desk, duty, tmp_path):
    for name in "ab":
        desk.put(name, asset=name, group_id="g")
    settings = tmp_path / "pipeline.toml"
    settings.write_text(
        f'[lake]\nroot = "{desk.root}"\n[notify.channels.duty]\nkind = "webhook"\n'
        f'url = "{duty.url}"\nsecret_env = "{SECRET_VARIABLE}"\n'
    )

    def run(how: str) -> int:
        arguments = [sys.executable, "-c", KILLED, str(settings), how, str(desk.clock.now_us)]
        return subprocess.run(arguments, cwd=PROJECT, check=False, timeout=120).returncode

    assert run("kill") == -signal.SIGKILL
    assert len(duty.requests) == 1
    assert {row.status for row in desk.rows()} == {"pending"}
    desk.put("c", asset="c", group_id="g")  # what comes in between does not get into it
    desk.clock.forward(seconds=1)
    assert run("go on") == 0
    assert duty.keys[0] == duty.keys[1]
    assert duty.requests[0][1] == duty.requests[1][1]
    assert sorted(duty.events) == [("opened", "a"), ("opened", "b"), ("opened", "c")]
    assert {row.status for row in desk.rows()} == {"sent"}
    desk.deliver()
    assert len(duty.requests) == 3
