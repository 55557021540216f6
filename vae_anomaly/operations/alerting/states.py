"""The states of an alert, and who may bring it from one to another."""

from __future__ import annotations

from vae_anomaly.errors import AlertingError

OPEN = "open"
ACKNOWLEDGED = "acknowledged"
RESOLVED = "resolved"
DISMISSED = "dismissed"
SUPERSEDED = "superseded"
STATUSES = (OPEN, ACKNOWLEDGED, RESOLVED, DISMISSED, SUPERSEDED)

SYSTEM = "system"
"""Who changes a status because the data say so."""

BY_PEOPLE = {
    OPEN: (ACKNOWLEDGED, DISMISSED),
    ACKNOWLEDGED: (OPEN, DISMISSED),
    RESOLVED: (ACKNOWLEDGED, DISMISSED),
    DISMISSED: (OPEN,),
    SUPERSEDED: (),
}
"""What people may make of an alert. One that has ended stays resolved when it is acknowledged:
that somebody has seen it is in its history."""

VERBS = {OPEN: "reopen", ACKNOWLEDGED: "acknowledge", DISMISSED: "dismiss"}


def check_transition(alert_id: str, before: str, after: str) -> None:
    """Refuse what people cannot make of an alert.

    Args:
        alert_id: The alert, for the message.
        before: Its status.
        after: The status asked for.

    Raises:
        AlertingError: There is no such transition.
    """
    if after in BY_PEOPLE[before]:
        return
    fitting = [status for status, nexts in BY_PEOPLE.items() if after in nexts]
    advice = "Nothing is to be done."
    if before == SUPERSEDED:
        advice = (
            "Later scores do not bear it out: see 'vae-anomaly alerts list' for what there is."
        )
    elif before == DISMISSED:
        advice = f"Reopen it first: 'vae-anomaly alerts reopen {alert_id}'."
    raise AlertingError(
        f"Cannot {VERBS[after]} alert {alert_id}: expected one that is "
        f"{' or '.join(fitting)}, got one that is {before}. {advice}"
    )


def find_status(*, is_live: bool, has_ended: bool, decision: str) -> str:
    """Return the status that follows from the scores and from what people decided last.

    It depends on nothing else, so that the order in which these came does not matter.

    Args:
        is_live: Whether the scores bear the event out.
        has_ended: Whether they show that it is over.
        decision: What people made of it last; empty where they did nothing.

    Example:
        >>> find_status(is_live=True, has_ended=True, decision="acknowledged")
        'resolved'
    """
    if not is_live:
        return SUPERSEDED
    if decision == DISMISSED:
        return DISMISSED
    if has_ended:
        return RESOLVED
    return ACKNOWLEDGED if decision == ACKNOWLEDGED else OPEN
