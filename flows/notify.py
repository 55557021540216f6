"""Flow: what there is to tell, told through the channels of the settings."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from prefect import flow

from flows.artifacts import publish_notify
from flows.tasks import deliver_messages, name_flow_run, report_refusals
from vae_anomaly.errors import NotifyError

if TYPE_CHECKING:
    from vae_anomaly.operations.notify.deliver import NotifyResult

logger = logging.getLogger(__name__)


@flow(name="notify", flow_run_name=name_flow_run)
@report_refusals
def notify(config_path: str = "pipeline.toml") -> NotifyResult:
    """Send what is due to the channels.

    Args:
        config_path: Settings of the pipeline.

    Returns:
        What was done.

    Raises:
        NotifyError: A channel cannot send; the others have sent all the same.
    """
    result = deliver_messages(config_path)
    logger.info("%s", publish_notify(result))
    if result.problems:
        raise NotifyError(" ".join(result.problems))
    return result
