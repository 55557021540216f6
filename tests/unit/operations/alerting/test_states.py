import pytest

from vae_anomaly.errors import AlertingError
from vae_anomaly.operations.alerting.states import (
    BY_PEOPLE,
    STATUSES,
    check_transition,
    find_status,
)


@pytest.mark.parametrize("before", STATUSES)
@pytest.mark.parametrize("after", ["open", "acknowledged", "dismissed"])
def test_only_the_transitions_that_there_are_pass(before, after):
    if after in BY_PEOPLE[before]:
        check_transition("1f", before, after)
        return
    with pytest.raises(AlertingError, match=f"got one that is {before}"):
        check_transition("1f", before, after)


def test_a_refusal_says_what_to_do():
    with pytest.raises(AlertingError, match="Reopen it first: 'vae-anomaly alerts reopen 1f'"):
        check_transition("1f", "dismissed", "acknowledged")
    with pytest.raises(AlertingError, match="Later scores do not bear it out"):
        check_transition("1f", "superseded", "dismissed")


@pytest.mark.parametrize(
    ("is_live", "has_ended", "decision", "status"),
    [
        (False, True, "dismissed", "superseded"),
        (True, False, "dismissed", "dismissed"),
        (True, True, "dismissed", "dismissed"),
        (True, True, "acknowledged", "resolved"),
        (True, False, "acknowledged", "acknowledged"),
        (True, True, "", "resolved"),
        (True, False, "open", "open"),
    ],
)
def test_the_status_follows_from_scores_and_decisions(is_live, has_ended, decision, status):
    assert find_status(is_live=is_live, has_ended=has_ended, decision=decision) == status
