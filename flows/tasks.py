"""Tasks of the flows: one library call each, tried again only where that can help."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from prefect.states import Failed
from prefect.tasks import Task

from flows.artifacts import Progress
from flows.liveness import mark_alive
from flows.timeouts import StuckError, limit_time
from vae_anomaly.config import read_pipeline_config
from vae_anomaly.errors import ReadingsError, RegistryError, TableError, VaeAnomalyError
from vae_anomaly.operations.monitoring.logs import log_context
from vae_anomaly.operations.monitoring.successes import note_success

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State, TaskRun

    from vae_anomaly.operations.monitoring.monitor import MonitorResult
    from vae_anomaly.operations.notify.deliver import NotifyResult
    from vae_anomaly.operations.notify.enqueue import EnqueueResult
    from vae_anomaly.operations.pipeline import (
        Alert,
        IngestResult,
        PromotionResult,
        ReportResult,
        ScoreResult,
        TrainResult,
    )

ArgumentsT = ParamSpec("ArgumentsT")
ResultT = TypeVar("ResultT")

RETRY_DELAYS_S = [2.0, 10.0, 30.0]
RETRY_JITTER = 0.2


def is_worth_retrying(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001
    """Whether a failed task may succeed if it is run again.

    It may where files, lake or registry could not be reached. A wrong setting, a broken contract
    or a refused calibration stays what it is.

    Args:
        task: The task.
        task_run: Its run.
        state: The state it failed with.
    """
    error = state.data
    if isinstance(error, (ReadingsError, TableError, RegistryError)):
        return error.__cause__ is not None  # something else failed, we only named it
    return isinstance(error, OSError)


def name_flow_run() -> str:
    """Name a flow run by its flow and the time it was due."""
    return f"{flow_run.flow_name} {flow_run.scheduled_start_time:%Y-%m-%d %H:%M:%S}"


def report_refusals(
    function: Callable[ArgumentsT, ResultT],
) -> Callable[ArgumentsT, ResultT | State[Any]]:
    """Let a flow run fail with our message where we refuse; a traceback would say no more.

    It also marks the flow run as alive while it is, ends it where it is stuck, and writes down in
    the lake that it succeeded.
    """
    logger = logging.getLogger(function.__module__)
    signature = inspect.signature(function)
    name = function.__name__

    @wraps(function)
    def run(*args: ArgumentsT.args, **kwargs: ArgumentsT.kwargs) -> ResultT | State[Any]:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        with log_context(flow=name, flow_run_id=str(flow_run.id or "")):
            try:
                config = read_pipeline_config(given.arguments["config_path"])
                limit_s = config.schedule.find_timeout(name)
                with mark_alive(), limit_time(limit_s):
                    began = time.monotonic()
                    result = function(*args, **kwargs)
                    duration_s = time.monotonic() - began
                    note_success(config, name, result, duration_s=duration_s)
                    return result
            except StuckError:
                message = (
                    f"Cannot {name}: expected an end within {limit_s:g} s, got none. See where it "
                    f"hangs, or raise {name}_timeout_s in [schedule]."
                )
                logger.error("%s", message)  # noqa: TRY400
                return Failed(name="TimedOut", message=message)
            except VaeAnomalyError as error:
                logger.error("%s", error)  # noqa: TRY400
                return Failed(message=str(error), data=error)

    return run


def touches_outside(
    name: str, *, run_name: str = ""
) -> Callable[[Callable[ArgumentsT, ResultT]], Task[ArgumentsT, ResultT]]:
    """Make a task of a function that reads or writes what may be out of reach for a while."""

    def decorate(function: Callable[ArgumentsT, ResultT]) -> Task[ArgumentsT, ResultT]:
        return Task(
            fn=function,
            name=name,
            task_run_name=run_name or name,
            cache_policy=NO_CACHE,
            retries=len(RETRY_DELAYS_S),
            retry_delay_seconds=RETRY_DELAYS_S,
            retry_jitter_factor=RETRY_JITTER,
            retry_condition_fn=is_worth_retrying,
        )

    return decorate


@touches_outside("ingest files")
def ingest_files(config_path: str) -> IngestResult:
    """Take new raw files into the lake."""
    from vae_anomaly.operations.pipeline import ingest_source

    progress = Progress("ingest-progress", "Raw files looked at")
    return ingest_source(
        read_pipeline_config(config_path),
        on_file=lambda _, done, total: progress.update(done, total),
    )


@touches_outside("look for a champion")
def has_champion(config_path: str) -> bool:
    """Whether the registry holds a champion."""
    from vae_anomaly.operations import pipeline

    return pipeline.has_champion(read_pipeline_config(config_path))


@touches_outside("train detector")
def train_detector(config_path: str) -> TrainResult:
    """Fit a detector and register it."""
    from vae_anomaly.operations import pipeline

    progress = Progress("train-progress", "Optimiser steps done")
    return pipeline.train_detector(read_pipeline_config(config_path), progress=progress.update)


@touches_outside("compare challenger")
def promote_challenger(config_path: str, by: str) -> PromotionResult:
    """Compare the newest version with the champion, and move the alias where it is as good."""
    from vae_anomaly.operations import pipeline

    return pipeline.promote_challenger(read_pipeline_config(config_path), by=by)


@touches_outside("score readings", run_name="score with {reference}")
def score_readings(config_path: str, reference: str) -> ScoreResult:
    """Score the readings that have no score yet."""
    from vae_anomaly.operations import pipeline_score

    progress = Progress("score-progress", "Readings scored")
    return pipeline_score.score_readings(
        read_pipeline_config(config_path), reference=reference, progress=progress.update
    )


@touches_outside("enqueue notifications")
def enqueue_messages(config_path: str) -> EnqueueResult:
    """Write down who is to be told of the alert events."""
    from vae_anomaly.operations.notify import enqueue

    return enqueue.enqueue_messages(read_pipeline_config(config_path))


@touches_outside("deliver notifications")
def deliver_messages(config_path: str) -> NotifyResult:
    """Send the notifications that are due."""
    from vae_anomaly.operations.notify import deliver

    return deliver.deliver_messages(read_pipeline_config(config_path))


@touches_outside("list alert events")
def list_alerts(config_path: str) -> tuple[Alert, ...]:
    """Read the alert events that stand."""
    from vae_anomaly.operations import pipeline

    return pipeline.list_alerts(read_pipeline_config(config_path))


@touches_outside("write report", run_name="write report on {reference}")
def write_report(config_path: str, reference: str) -> ReportResult:
    """Write the report page."""
    from vae_anomaly.operations.pipeline import make_pipeline_report

    return make_pipeline_report(read_pipeline_config(config_path), reference=reference)


@touches_outside("check drift")
def check_drift(config_path: str) -> MonitorResult:
    """Compare readings, scores and alert events with the calibration of the champion."""
    from vae_anomaly.operations.monitoring.monitor import monitor_pipeline

    return monitor_pipeline(read_pipeline_config(config_path))


@touches_outside("note that the drift was announced")
def note_announced(config_path: str, result: MonitorResult) -> None:
    """Write down that the drift of this champion was announced."""
    from vae_anomaly.operations.monitoring import monitor

    monitor.note_announced(read_pipeline_config(config_path), result)
