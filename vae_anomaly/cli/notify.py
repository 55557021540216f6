"""The command on notifications: test a channel, list the outbox, send again."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import CycloptsError

from vae_anomaly.cli.files import DEFAULT_CONFIG, Json
from vae_anomaly.cli.output import (
    add_row,
    format_iso_time,
    make_table,
    print_json,
    print_lines,
    print_notes,
    print_table,
    show_progress,
)
from vae_anomaly.errors import NotifyError
from vae_anomaly.wording import format_plural

if TYPE_CHECKING:
    from vae_anomaly.config import PipelineConfig
    from vae_anomaly.operations.notify.outbox import Entry

MAX_ROWS = 50
"""Rows of the outbox that are printed, the latest; --json has all."""


def notify(
    action: Literal["test", "list", "retry"],
    target: str = "",
    /,
    *,
    failed: bool = False,
    config: Path = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Test a channel of notifications, list the outbox, or send again what failed.

    Args:
        action: Send a test message through a channel; list what was and is to be told; or put
            what failed or expired in line again, for the next run.
        target: Channel to test, or key of the row to send again.
        failed: Send everything again that failed.
        config: The settings of the pipeline.
        json: Print the result for machines.
    """
    from vae_anomaly.config import read_pipeline_config

    _check_usage(action, target, failed=failed)
    settings = read_pipeline_config(config)
    if action == "test":
        _test(settings, target, json=json)
    elif action == "retry":
        _retry(settings, target, json=json)
    else:
        _list(settings, json=json)


def _check_usage(action: str, target: str, *, failed: bool) -> None:
    if action == "test" and not target:
        raise CycloptsError(msg="Give the channel to test: vae-anomaly notify test CHANNEL.")
    if action == "retry" and bool(target) == failed:
        raise CycloptsError(msg="Give the KEY of a row, or --failed for all that failed.")
    if (action == "list" and target) or (action != "retry" and failed):
        raise CycloptsError(msg=f"'notify {action}' takes no {'KEY' if target else '--failed'}.")


def _test(settings: PipelineConfig, name: str, *, json: bool) -> None:
    from vae_anomaly.operations.notify.manage import send_test

    with show_progress("Sending a test message"):
        answer = send_test(settings, name)
    if answer.arrived != "yes":
        raise NotifyError(
            f"Cannot send through channel '{name}': expected the receiver to take the test "
            f"message, got: {answer.text}. Check its address and secret, and the receiver."
        )
    if json:
        print_json({"channel": name, "arrived": str(answer.arrived), "answer": answer.text})
    else:
        print_lines(f"The receiver of '{name}' took the test message: {answer.text}")


def _retry(settings: PipelineConfig, key: str, *, json: bool) -> None:
    from vae_anomaly.operations.notify.manage import retry_messages

    again = retry_messages(settings, key=key)
    if json:
        print_json([entry.key for entry in again])
    else:
        print_lines(
            f"{format_plural(len(again), 'notification')} in line again; 'vae-anomaly run notify' "
            "sends what is due."
        )


def _list(settings: PipelineConfig, *, json: bool) -> None:
    from vae_anomaly.operations.notify.manage import check_channels, list_messages

    with show_progress("Reading the outbox"):
        entries = list_messages(settings)
        checks = check_channels(settings)
    if json:
        rows = [_describe(entry) for entry in entries]
        print_json({"channels": checks, "outbox": rows})
        return
    if not settings.notify.channels:
        print_lines("No channel is set up: nobody is told. See docs/how-to/get-notified.md.")
    _print(entries)
    removed = {entry.channel for entry in entries if entry.status == "pending"}
    removed -= set(settings.notify.channels)
    print_notes(
        [
            *(check.problem for check in checks if check.problem),
            *(f"channel '{name}' is not in the settings any more" for name in sorted(removed)),
        ]
    )


def _print(entries: tuple[Entry, ...]) -> None:
    counts = Counter(entry.status for entry in entries)
    print_lines(
        f"{format_plural(len(entries), 'notification')}"
        + "".join(f", {count:,} {status}" for status, count in sorted(counts.items()))
        + "."
    )
    if not entries:
        return
    shown = entries[-MAX_ROWS:]
    title = "Outbox" if len(shown) == len(entries) else f"Outbox, the latest {len(shown)}"
    columns = ("created", "channel", "asset", "what", "status", "tries", "key", "why")
    table = make_table(title, columns, right=("tries",))
    for entry in shown:
        add_row(
            table,
            format_iso_time(entry.created_us // 1_000_000 * 1_000_000),
            entry.channel,
            entry.asset,
            entry.what,
            entry.status,
            str(len(entry.attempts)),
            entry.key[:12],
            entry.last_error or entry.reason,
        )
    print_table(table)


def _describe(entry: Entry) -> dict[str, Any]:
    times = ("created_us", "due_us", "sealed_us", "hold_us")
    row = {name: value for name, value in asdict(entry).items() if name not in times}
    for name in times:
        value = getattr(entry, name)
        row[name.removesuffix("_us")] = None if value is None else format_iso_time(value)
    row["attempts"] = [
        {"at": format_iso_time(item.at_us), "arrived": item.arrived, "answer": item.answer}
        for item in entry.attempts
    ]
    return row
