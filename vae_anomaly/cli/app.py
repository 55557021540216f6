"""The command line put together: commands, help, version, exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import App, Group, Parameter

from vae_anomaly import __version__
from vae_anomaly.cli import (
    alerts,
    benchmark,
    compare,
    demo,
    files,
    lake,
    models,
    notify,
    pipeline,
    watching,
)
from vae_anomaly.cli.guard import (
    DEBUG_OPTION,
    DEBUG_VARIABLE,
    quieten_libraries,
    run_guarded,
)

PROGRAM = "vae-anomaly"

EPILOGUE = f"""\
Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
With {DEBUG_OPTION} or {DEBUG_VARIABLE}=1 a failure shows its traceback."""

GROUPS = {
    Group("Start here", sort_key=1): (demo.demo, pipeline.init),
    Group("On files, without lake or registry", sort_key=2): (
        files.check,
        files.fit,
        files.score,
        files.evaluate,
        benchmark.benchmark,
    ),
    Group("The pipeline that pipeline.toml describes", sort_key=3): (
        pipeline.run,
        pipeline.serve,
        pipeline.deploy,
        pipeline.report,
        lake.lake,
        notify.notify,
        watching.metrics,
        watching.doctor,
        models.models,
        compare.compare,
        models.promote,
        models.rollback,
        models.rescore,
        alerts.alerts,
        alerts.maintenance,
        alerts.mute,
    ),
}


def make_app() -> App:
    """Put the commands together."""
    app = App(
        name=PROGRAM,
        help="Find anomalies in raw sensor readings with a variational autoencoder.",
        help_epilogue=EPILOGUE,
        help_format="plaintext",
        version=f"{PROGRAM} {__version__}",
        default_parameter=Parameter(negative="", show_default=False),
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    for group, commands in GROUPS.items():
        for command in commands:
            if isinstance(command, App):  # a group of commands says itself where it is shown
                command.group = group
                app.command(command)
            else:
                app.command(command, group=group)
    return app


def run(arguments: Sequence[str] | None) -> int:
    """Run one command; see `vae_anomaly.cli.main`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = DEBUG_OPTION in given or bool(os.environ.get(DEBUG_VARIABLE))
    tokens = [token for token in given if token != DEBUG_OPTION]
    app = make_app()

    def command() -> int | None:
        if arguments is None:
            quieten_libraries(debug=debug)
        result: int | None = app(tokens, exit_on_error=False, print_error=False)
        return result

    return run_guarded(command, debug=debug)
