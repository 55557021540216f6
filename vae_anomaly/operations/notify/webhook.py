"""The webhook: a signed POST of JSON."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import final

import httpx

from vae_anomaly import __version__
from vae_anomaly.config import ChannelConfig
from vae_anomaly.config.notify import describe_address
from vae_anomaly.domain import MICROSECONDS_PER_S
from vae_anomaly.errors import NotifyError
from vae_anomaly.operations.notify.channels import (
    Answer,
    OutgoingMessage,
    clean_answer,
    list_secrets,
    require_variable,
)
from vae_anomaly.operations.notify.outbox import Arrived

SIGNATURE_HEADER = "X-Vae-Anomaly-Signature"
TIMESTAMP_HEADER = "X-Vae-Anomaly-Timestamp"
KEY_HEADER = "Idempotency-Key"
BODY_VERSION = 1
MAX_ANSWER_BYTES = 2_000


@final
class WebhookChannel:
    """Posts messages to one address; redirects are not followed, so nothing goes elsewhere."""

    def __init__(self, name: str, channel: ChannelConfig) -> None:
        secret = require_variable(name, channel.secret_env, what="the key of the signature")
        address = channel.url or require_variable(
            name, channel.url_env, what="the address of the webhook"
        )
        problem = describe_address(address)
        if problem:
            raise NotifyError(
                f"Cannot send through channel '{name}': expected {problem} in the environment "
                f"variable {channel.url_env}, got something else. Correct it."
            )
        self._address = address
        self._secret = secret.encode()
        self._timeout_s = channel.timeout_s
        self._secrets = [secret, *(list_secrets(address) if channel.url_env else [])]
        for library in ("httpx", "httpcore"):  # they log addresses
            logging.getLogger(library).setLevel(logging.WARNING)

    def send(self, message: OutgoingMessage, *, now_us: int) -> Answer:
        """Post a message once."""
        body = make_body(message)
        timestamp = str(now_us // MICROSECONDS_PER_S)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"vae-anomaly/{__version__}",
            KEY_HEADER: message.key,
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: make_signature(self._secret, timestamp=timestamp, body=body),
        }
        try:
            with (
                httpx.Client(timeout=self._timeout_s, follow_redirects=False) as client,
                client.stream("POST", self._address, content=body, headers=headers) as response,
            ):
                return self._judge(response, now_us=now_us)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            return self._describe_failure(error, Arrived.NO)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return self._describe_failure(error, Arrived.UNKNOWN)

    def _judge(self, response: httpx.Response, *, now_us: int) -> Answer:
        said = _read_start(response, timeout_s=self._timeout_s)
        code = response.status_code
        text = clean_answer(f"HTTP {code} {response.reason_phrase}: {said}".rstrip(": "))
        text = clean_answer(text, secrets=self._secrets)
        if response.is_success:
            return Answer(Arrived.YES, text)
        if response.is_redirect:
            text += " (redirects are not followed: give the address that it leads to)"
        passes = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
        return Answer(
            Arrived.NO,
            text,
            is_final=response.is_client_error and code not in passes,
            retry_after_s=parse_retry_after(response.headers.get("Retry-After"), now_us=now_us),
        )

    def _describe_failure(self, error: Exception, arrived: Arrived) -> Answer:
        text = f"no answer: {type(error).__name__}: {error}".rstrip(": ")
        return Answer(arrived, clean_answer(text, secrets=self._secrets))


def make_body(message: OutgoingMessage) -> bytes:
    """Write a message as JSON, the same bytes each time."""
    content = {
        "version": BODY_VERSION,
        "key": message.key,
        "channel": message.channel,
        "title": message.title,
        "text": message.text,
        "events": list(message.events),
        "report": message.report,
    }
    return json.dumps(content, sort_keys=True).encode()


def make_signature(secret: bytes, *, timestamp: str, body: bytes) -> str:
    """Sign a body with the time it was sent at: `v1=` and HMAC-SHA256 of `timestamp.body`.

    Example:
        >>> make_signature(b"key", timestamp="0", body=b"{}")[:11]
        'v1=7314351d'
    """
    digest = hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256)
    return f"v1={digest.hexdigest()}"


def parse_retry_after(value: str | None, *, now_us: int) -> float | None:
    """Return the seconds that a `Retry-After` header asks for, None where it says nothing.

    Example:
        >>> parse_retry_after("120", now_us=0)
        120.0
        >>> parse_retry_after("Thu, 01 Jan 1970 00:01:00 GMT", now_us=0)
        60.0
        >>> parse_retry_after("soon", now_us=0) is None
        True
    """
    if not value:
        return None
    if value.strip().isdigit():
        return float(value.strip()[:9])
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    now = datetime.fromtimestamp(now_us / MICROSECONDS_PER_S, tz=UTC)
    return max((moment - now).total_seconds(), 0.0)


def _read_start(response: httpx.Response, *, timeout_s: float) -> str:
    """Read the first bytes of an answer; one that trickles in is cut off."""
    end, said = time.monotonic() + timeout_s, b""
    try:
        for chunk in response.iter_bytes():
            said += chunk
            if len(said) >= MAX_ANSWER_BYTES or time.monotonic() > end:
                break
    except httpx.HTTPError as error:  # the status is known, and that is what counts
        said += f" (cut off: {type(error).__name__})".encode()
    return said[:MAX_ANSWER_BYTES].decode(errors="replace")
