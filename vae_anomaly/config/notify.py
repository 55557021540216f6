"""Settings of notifications: whom alert events are told to, and how."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from vae_anomaly.config.base import Settings

VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
"""Name of an environment variable; a secret that was put in its place is hardly ever like it."""

Happening = Literal["opened", "resolved", "dismissed", "superseded"]


class ChannelConfig(Settings):
    """One way to tell somebody.

    Attributes:
        kind: `webhook`, signed JSON to an address; or `apprise`, for e-mail, Slack, Teams,
            PagerDuty and all else that Apprise has an address for.
        url: Address of a webhook, where it holds no secret.
        url_env: Environment variable with the address; for `apprise` always.
        secret_env: Environment variable with the key that a webhook is signed with.
        min_severity: The least severity that is told: `low`, `medium` or `high`.
        assets: Assets that are told of, as names or patterns such as `pump-*`; empty for all.
        what: What is told. How an alert event ends is told only where its beginning was.
        group: Whether alert events of one group that are due together go into one message.
        digest: Empty to tell at once; `hourly` or `daily` for one message per hour or day, UTC.
        max_per_hour: Messages in an hour at most, 0 for no limit; the last one holds the rest.
        format: `text`, or `html`, in which names are escaped.
        template: Jinja2 template of the text, with `title` and `events`; empty for the usual text.
        timeout_s: Seconds that a receiver has for its answer.
    """

    kind: Literal["webhook", "apprise"]
    url: str = ""
    url_env: str = ""
    secret_env: str = ""
    min_severity: Literal["low", "medium", "high"] = "low"
    assets: tuple[str, ...] = ()
    what: tuple[Happening, ...] = ("opened", "resolved", "dismissed", "superseded")
    group: bool = True
    digest: Literal["", "hourly", "daily"] = ""
    max_per_hour: Annotated[int, Field(ge=0)] = 20
    format: Literal["text", "html"] = "text"
    template: str = ""
    timeout_s: Annotated[float, Field(gt=0, le=300)] = 10.0

    # Checks of the whole, not of a field: the message of a field would repeat what was given,
    # and that may be a secret.
    @model_validator(mode="after")
    def _check(self) -> ChannelConfig:
        for name in ("url_env", "secret_env"):
            value = getattr(self, name)
            if value and not VARIABLE.fullmatch(value):
                raise ValueError(
                    f"expected the name of an environment variable in {name}, such as "
                    "NOTIFY_SECRET, got something else; secrets do not belong in this file"
                )
        if self.kind == "webhook":
            self._check_webhook()
        elif self.url or not self.url_env:
            raise ValueError("expected url_env, and no url: an Apprise address holds secrets")
        if "opened" not in self.what:
            raise ValueError("expected 'opened' in what: an end is told only after a beginning")
        return self

    def _check_webhook(self) -> None:
        if bool(self.url) == bool(self.url_env):
            raise ValueError("expected one of url and url_env")
        if not self.secret_env:
            raise ValueError("expected secret_env: a webhook is always signed")
        if self.url:
            problem = describe_address(self.url)
            if problem:
                raise ValueError(f"expected {problem} in url")


def describe_address(url: str) -> str:
    """Say what the address of a webhook has to be and is not, "" where it is fine.

    The address itself is not repeated: it may hold a secret.

    Example:
        >>> describe_address("ftp://example.com"), describe_address("https://example.com/hook")
        ('an address that begins with https:// or http:// and names a host', '')
    """
    try:
        parts = urlsplit(url)
        host, user = parts.hostname, parts.username
    except ValueError:
        host, user = None, None
    if host is None or parts.scheme not in {"http", "https"}:
        return "an address that begins with https:// or http:// and names a host"
    if user is not None:
        return "no user and password (the signature says who sends)"
    return ""


class NotifyConfig(Settings):
    """Whom alert events are told to; nobody without a channel.

    Attributes:
        channels: Channels by name, each in a section such as `[notify.channels.duty]`; see
            docs/how-to/get-notified.md.
        max_age_h: Alert events that ended longer ago when they are first seen, in hours, are
            written down as expired and not told: as a rule they come from history that is scored
            for the first time. 0 for no limit.
        give_up_h: Hours after which a message that was tried in vain is given up.
        report_link: Where people find the report page; empty for its path on this machine.
    """

    channels: dict[str, ChannelConfig] = Field(default_factory=dict)
    max_age_h: Annotated[float, Field(ge=0)] = 72.0
    give_up_h: Annotated[float, Field(gt=0)] = 72.0
    report_link: str = ""

    @model_validator(mode="after")
    def _check(self) -> NotifyConfig:
        for name in self.channels:
            if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
                raise ValueError(
                    f"expected letters, digits, - and _ in the name of a channel, got {name!r}"
                )
        return self
