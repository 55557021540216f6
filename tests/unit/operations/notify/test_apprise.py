"""E-mail through Apprise, to a real SMTP server on loopback."""

import email
import email.policy
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from tests.receivers import find_free_port
from vae_anomaly.config import ChannelConfig
from vae_anomaly.operations.notify.manage import check_channels, send_test

VARIABLE = "TEST_MAIL_ADDRESS"
PASSWORD = "hunter2-pass"  # noqa: S105 - of a server in this test


@dataclass
class Mailbox:
    """What came by e-mail; `refuse` makes it answer with a failure."""

    port: int
    refuse: str = ""
    messages: list[EmailMessage] = field(default_factory=list)

    async def handle_DATA(self, _: Any, __: Any, envelope: Any) -> str:  # noqa: N802
        if self.refuse:
            return self.refuse
        content = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(content, EmailMessage)
        self.messages.append(content)
        return "250 OK"

    @property
    def texts(self) -> list[str]:
        return [
            part.get_content().replace("\r\n", "\n")
            for message in self.messages
            for part in message.walk()
            if part.get_content_maintype() == "text"
        ]


@pytest.fixture
def mailbox(desk, monkeypatch) -> Iterator[Mailbox]:
    box = Mailbox(find_free_port())

    def authenticate(*_: Any) -> AuthResult:
        return AuthResult(success=True)

    server = Controller(
        box,
        hostname="127.0.0.1",
        port=box.port,
        authenticator=authenticate,
        auth_require_tls=False,
    )
    address = (
        f"mailto://plant:{PASSWORD}@127.0.0.1:{box.port}?from=p@mail.example&to=d@mail.example"
    )
    monkeypatch.setenv(VARIABLE, address)
    desk.channels["mail"] = ChannelConfig(kind="apprise", url_env=VARIABLE)
    server.start()
    try:
        yield box
    finally:
        server.stop()


def test_an_alert_event_comes_by_mail_once(desk, mailbox):
    desk.put("a")
    assert desk.deliver().num_sent == 1
    assert desk.deliver().num_sent == 0
    (message,) = mailbox.messages
    assert message["Subject"] == "HIGH alert on pump-07"
    assert message["To"] == "d@mail.example"
    text = mailbox.texts[0]
    assert "Acknowledge with: vae-anomaly alerts ack a" in text
    assert f"Message {desk.rows()[0].key}" in text
    assert desk.rows()[0].attempts[0].answer == "taken by the service"


def test_html_comes_as_html(desk, mailbox):
    desk.change("mail", format="html", template="<b>{{ events[0].asset }}</b>")
    desk.put("a", asset="<i>x</i>")
    desk.deliver()
    kinds = {part.get_content_type() for part in mailbox.messages[0].walk()}
    assert "text/html" in kinds
    assert any("<b>&lt;i&gt;x&lt;/i&gt;</b>" in text for text in mailbox.texts)


def test_hostile_names_add_no_headers(desk, mailbox):
    desk.put("a", asset="pump\r\nBcc: all@mail.example\r\n\r\nbody")
    desk.deliver()
    (message,) = mailbox.messages
    assert message["Bcc"] is None
    assert "Bcc: all@mail.example" in message["Subject"]


def test_a_refusal_is_kept_without_the_password_and_tried_again(desk, mailbox, caplog, capfd):
    mailbox.refuse = "451 try later"
    desk.put("a")
    with caplog.at_level(logging.DEBUG):
        assert desk.deliver().num_again == 1
    (row,) = desk.rows()
    assert "451" in row.last_error
    assert row.arrived == "no"
    shown = "".join(capfd.readouterr()) + caplog.text + repr(row)
    assert PASSWORD not in shown
    mailbox.refuse = ""
    desk.clock.forward(hours=1)
    assert desk.deliver().num_sent == 1
    assert len(mailbox.messages) == 1


def test_a_mail_server_that_is_down_is_tried_again(desk, monkeypatch):
    monkeypatch.setenv(
        VARIABLE,
        f"mailto://plant:{PASSWORD}@127.0.0.1:{find_free_port()}?from=p@mail.example&to=d@b.example",
    )
    desk.channels["mail"] = ChannelConfig(kind="apprise", url_env=VARIABLE)
    desk.put("a")
    assert desk.deliver().num_again == 1
    assert PASSWORD not in repr(desk.rows())


def test_a_test_message_comes_by_mail(desk, mailbox):
    assert send_test(desk.config, "mail").arrived == "yes"
    assert mailbox.messages[0]["Subject"].startswith("Test message of vae-anomaly")


@pytest.mark.parametrize(
    "address", ["no address", "mailto://a:b@h.example,mailto://c:d@h.example", "nothing://x:y@z"]
)
def test_an_address_that_is_not_one_is_refused_without_showing_it(desk, monkeypatch, address):
    monkeypatch.setenv(VARIABLE, address)
    desk.channels["mail"] = ChannelConfig(kind="apprise", url_env=VARIABLE)
    (check,) = check_channels(desk.config)
    assert "expected one address that Apprise understands" in check.problem
    assert VARIABLE in check.problem
    assert address not in check.problem


def test_a_service_that_raises_is_tried_again(desk, mailbox, monkeypatch):
    import apprise

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(f"{PASSWORD} is wrong")

    monkeypatch.setattr(apprise.Apprise, "notify", fail)
    desk.put("a")
    assert desk.deliver().num_again == 1
    assert desk.rows()[0].last_error == "RuntimeError: *** is wrong"
    assert desk.rows()[0].arrived == "unknown"
