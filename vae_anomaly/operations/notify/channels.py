"""Channels: what takes a message to its receiver, and what the receiver says."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from vae_anomaly.config import ChannelConfig
from vae_anomaly.errors import NotifyError
from vae_anomaly.operations.notify.outbox import Arrived

MIN_SECRET_LETTERS = 4
MAX_ANSWER_LETTERS = 300


@dataclass(frozen=True)
class OutgoingMessage:
    """What is sent, the same on every try.

    Attributes:
        key: Idempotency key.
        channel: Name of the channel.
        title: One line.
        text: Text, or HTML where the channel asks for it.
        events: Payloads of its alert events.
        report: Where the report is.
    """

    key: str
    channel: str
    title: str
    text: str
    events: Sequence[dict[str, Any]]
    report: str


@dataclass(frozen=True)
class Answer:
    """What became of a try.

    Attributes:
        arrived: Whether the receiver has the message.
        text: What it said, or what went wrong; no secrets.
        is_final: Whether trying again would be in vain.
        retry_after_s: Seconds that the receiver asks to wait, None where it does not.
    """

    arrived: Arrived
    text: str
    is_final: bool = False
    retry_after_s: float | None = None


class Channel(Protocol):
    """What takes messages to a receiver."""

    def send(self, message: OutgoingMessage, *, now_us: int) -> Answer:
        """Send a message once; whatever goes wrong is in the answer."""


def open_channel(name: str, channel: ChannelConfig) -> Channel:
    """Make a channel ready to send.

    Args:
        name: Its name.
        channel: Its settings.

    Raises:
        NotifyError: An environment variable is missing or wrong, or the template fails.
    """
    from vae_anomaly.operations.notify.apprise_channel import AppriseChannel
    from vae_anomaly.operations.notify.text import check_template
    from vae_anomaly.operations.notify.webhook import WebhookChannel

    check_template(name, channel)
    if channel.kind == "webhook":
        return WebhookChannel(name, channel)
    return AppriseChannel(name, channel)


def require_variable(name: str, variable: str, *, what: str) -> str:
    """Read what a channel needs from the environment.

    Args:
        name: Name of the channel.
        variable: Environment variable.
        what: What it holds, for the message.

    Raises:
        NotifyError: It is not set, or empty.
    """
    value = os.environ.get(variable, "").strip()
    if not value:
        raise NotifyError(
            f"Cannot send through channel '{name}': expected {what} in the environment variable "
            f"{variable}, got nothing. Set it where the pipeline runs."
        )
    return value


def list_secrets(address: str) -> list[str]:
    """List the parts of an address that may be secret: all but scheme, host and port."""
    parts = urlsplit(address)
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    pieces = [address, user, password, *parts.path.split("/"), parts.fragment]
    pieces += [value for _, value in parse_qsl(parts.query)]
    return [*pieces, *map(unquote, pieces)]


def clean_answer(text: str, *, secrets: Sequence[str] = ()) -> str:
    r"""Make an answer fit to be kept: on one line, short, secrets taken out.

    Example:
        >>> clean_answer("no\nentry for hunter2", secrets=["hunter2"])
        'no entry for ***'
    """
    for secret in sorted(set(secrets), key=len, reverse=True):
        if len(secret) >= MIN_SECRET_LETTERS:
            text = text.replace(secret, "***")
    line = " ".join(text.split())
    line = "".join(char if char.isprintable() else "?" for char in line)
    return line if len(line) <= MAX_ANSWER_LETTERS else line[: MAX_ANSWER_LETTERS - 1] + "…"
