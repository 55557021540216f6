import pytest

from vae_anomaly.cli.steps import describe_step, is_done, print_step, require_success
from vae_anomaly.errors import ReadingsError
from vae_anomaly.operations.monitoring.monitor import Drift, MonitorResult
from vae_anomaly.operations.notify.deliver import NotifyResult
from vae_anomaly.operations.pipeline_results import ScoreResult, TrainResult
from vae_anomaly.operations.promotion.results import PromotionResult
from vae_anomaly.readings.ingest import FailedFile, IngestResult


def make_ingest(**changes):
    fields = {
        "num_files": 3, "num_new_files": 2, "num_rows": 100, "num_kept": 97,
        "num_quarantined": 2, "num_duplicates": 1, "readings_version": 1,
    }  # fmt: skip
    return IngestResult(**{**fields, **changes})


def make_training(**changes):
    fields = {
        "model_name": "vae-anomaly", "model_version": "2", "run_id": "r", "is_champion": True,
        "decision": "Better than version 1.", "num_rows": 1000, "num_assets": 1,
        "num_period_rows": 1000, "num_blocks": 1, "readings_version": 1,
    }  # fmt: skip
    return TrainResult(**{**fields, **changes})


def make_scoring(**changes):
    fields = {
        "model_name": "vae-anomaly", "model_version": "2", "num_rows": 10, "num_ok": 8,
        "num_anomalous": 1, "num_unscorable": 1, "num_events": 1, "num_new_rows": 10,
        "num_new_events": 1, "readings_version": 1, "skipped": False,
    }  # fmt: skip
    return ScoreResult(**{**fields, **changes})


def make_promotion(**changes):
    fields = {
        "model_name": "vae-anomaly", "challenger": "2", "champion": "2", "decision": "promoted",
        "reason": "Champion, compared on 10 normal steps.",
    }  # fmt: skip
    return PromotionResult(**{**fields, **changes})


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (make_promotion(), "Champion is now vae-anomaly version 2. Champion, compared on"),
        (
            make_promotion(decision="refused", champion="1", reason="Not champion: worse."),
            "Champion stays vae-anomaly version 1. Not champion: worse.",
        ),
        (
            make_promotion(decision="refused", champion="", reason="Not champion: unhealthy."),
            "Champion stays vae-anomaly version (none). Not champion: unhealthy.",
        ),
        (make_ingest(), "Ingested 2 of 3 files: 100 rows, of them 97 kept, 2 to quarantine, 1"),
        (
            NotifyResult(num_sent=2, num_again=1, num_expired=40),
            "Sent 2 messages; 1 to be tried again, 0 given up. 40 notifications of events that",
        ),
        (make_training(), "Trained on 1,000 rows, registered as vae-anomaly version 2."),
        (
            make_training(num_period_rows=20_000, num_blocks=7),
            "Trained on 1,000 of 20,000 rows in 7 blocks, registered as vae-anomaly version 2.",
        ),
        (make_scoring(), "Scored 10 rows with vae-anomaly version 2. In all 10 rows: 8 ok"),
    ],
)
def test_each_step_says_what_it_did(result, words):
    assert describe_step(result).startswith(words)
    assert not is_done(result)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (
            make_promotion(skipped=True),
            "Champion is now vae-anomaly version 2. Decided before, on the same readings. Champ",
        ),
        (
            make_promotion(skipped=True, decision="nothing", reason="Version 2 is it already."),
            "Champion stays vae-anomaly version 2. Version 2 is it already.",
        ),
        (make_ingest(num_new_files=0), "Nothing to ingest: 3 files known already."),
        (NotifyResult(num_waiting=3), "Nothing to send; 3 waiting."),
        (make_training(skipped=True), "Nothing to train: vae-anomaly version 2 comes from"),
        (make_scoring(skipped=True), "Nothing to score: vae-anomaly version 2 has scored every"),
    ],
)
def test_each_step_says_when_there_was_nothing_to_do(result, words):
    assert describe_step(result).startswith(words)
    assert is_done(result)


def test_files_left_out_are_listed_with_the_reason(capsys):
    print_step(make_ingest(num_new_files=0, failed=(FailedFile("a.parquet", "cut short"),)))
    out = capsys.readouterr().out
    assert "a.parquet" in out
    assert "cut short" in out
    assert "Nothing to ingest" not in out


def test_training_says_whether_the_version_is_champion(capsys):
    print_step(make_training(decision="Not champion: health check 'x' failed."))
    assert "Not champion: health check 'x' failed." in capsys.readouterr().out


def test_a_training_that_was_skipped_shows_no_empty_tables(capsys):
    print_step(make_training(skipped=True))
    assert "Health" not in capsys.readouterr().out


def test_scoring_is_one_message(capsys):
    print_step(make_scoring())
    assert "1 alert event, 1 of them new" in " ".join(capsys.readouterr().out.split())


def test_an_ingest_that_took_in_nothing_for_refusals_is_a_failure():
    refused = (FailedFile("a.parquet", "not Parquet"),)
    with pytest.raises(ReadingsError, match=r"1 file refused, first 'a\.parquet': not Parquet"):
        require_success(make_ingest(num_new_files=0, failed=refused))
    require_success(make_ingest(num_new_files=1, failed=refused))
    require_success(make_ingest(num_new_files=0))


def make_check(**changes):
    drift = Drift("pump-1", "flow", "level", 4.0, "sensor 'flow' is +4 standard deviations")
    fields = {
        "model_name": "vae-anomaly", "model_version": "2", "lake": "lake", "readings_version": 1,
        "until_us": 1_767_740_400_000_000, "num_series": 8, "num_unknown": 1, "drifts": (drift,),
        "event_id": "x", "skipped": False,
    }  # fmt: skip
    return MonitorResult(**{**fields, **changes})


def test_a_check_says_what_has_drifted(capsys):
    result = make_check()
    assert describe_step(result).startswith(
        "Compared 8 figures of vae-anomaly version 2 with its calibration, up to 2026-01-06 23:00"
    )
    assert "1 drift; of 1 nothing can be said." in describe_step(result)
    assert not is_done(result)
    print_step(result)
    assert "sensor 'flow' is +4" in " ".join(capsys.readouterr().out.split())


def test_of_many_drifts_the_first_are_listed(capsys):
    print_step(make_check(drifts=make_check().drifts * 40))
    assert "... and 10 more, in the table drift" in capsys.readouterr().out


def test_a_check_that_was_made_before_says_so():
    result = make_check(drifts=(), skipped=True)
    assert describe_step(result).endswith("These blocks were compared before.")
    assert is_done(result)
