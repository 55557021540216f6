"""E-mail, Slack, Teams, PagerDuty and all else that Apprise has an address for."""

from __future__ import annotations

import logging
import re
from typing import final

from vae_anomaly.config import ChannelConfig
from vae_anomaly.errors import NotifyError
from vae_anomaly.operations.notify.channels import (
    Answer,
    OutgoingMessage,
    clean_answer,
    list_secrets,
    require_variable,
)
from vae_anomaly.operations.notify.outbox import Arrived

REASON = re.compile(r"(Socket|I/O) Exception:|Response Details:")
"""What the lines begin with in which Apprise says why; they are at the level of debugging."""


@final
class AppriseChannel:
    """Sends through one address of Apprise.

    Apprise only says whether it worked. What it logs meanwhile is kept as the answer, secrets
    taken out, and shown nowhere else. Whatever fails is tried again.
    """

    def __init__(self, name: str, channel: ChannelConfig) -> None:
        import apprise

        address = require_variable(name, channel.url_env, what="an Apprise address")
        _open_log()
        self._apprise = apprise.Apprise()
        if not self._apprise.add(address) or len(self._apprise) != 1:
            raise NotifyError(
                f"Cannot send through channel '{name}': expected one address that Apprise "
                f"understands in the environment variable {channel.url_env}, got "
                f"{len(self._apprise) or 'none'}. See the list of services in Apprise's "
                "documentation, and make a channel for each address."
            )
        self._body_format = (
            apprise.NotifyFormat.HTML if channel.format == "html" else apprise.NotifyFormat.TEXT
        )
        self._secrets = list_secrets(address)

    def send(self, message: OutgoingMessage, *, now_us: int) -> Answer:  # noqa: ARG002
        """Send a message once; the key stands at its end, since most services have no field."""
        log = _open_log()
        mark = f"Message {message.key}"
        is_html = "<" in message.text and str(self._body_format).endswith("html")
        body = f"{message.text}\n{f'<p>{mark}</p>' if is_html else mark}"
        try:
            is_sent = self._apprise.notify(
                body=body, title=message.title, body_format=self._body_format
            )
        except Exception as error:  # noqa: BLE001 - each service is code of its own
            return Answer(Arrived.UNKNOWN, self._clean(f"{type(error).__name__}: {error}"))
        if is_sent:
            return Answer(Arrived.YES, "taken by the service")
        return Answer(Arrived.NO, self._clean("; ".join(log.lines) or "not taken"))

    def _clean(self, text: str) -> str:
        return clean_answer(text, secrets=self._secrets)


class _Lines(logging.Handler):
    """Keeps what a library says went wrong; other lines may hold all of a message."""

    def __init__(self) -> None:
        super().__init__(level=logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if record.levelno >= logging.WARNING or REASON.match(line):
            self.lines.append(line)


def _open_log() -> _Lines:
    """Turn the log of Apprise to us alone: its lines hold addresses, and so passwords."""
    logger = logging.getLogger("apprise")
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    handler = _Lines()
    logger.handlers = [handler]
    return handler
