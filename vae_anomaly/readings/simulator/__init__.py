"""Sample data: a simulated pumping station with labelled faults and unlabelled dirt.

Runs as a command too: `python -m vae_anomaly.readings.simulator data/sample`.
"""

from vae_anomaly.readings.simulator.dirt import SENTINEL
from vae_anomaly.readings.simulator.faults import Fault, FaultKind
from vae_anomaly.readings.simulator.files import write_sample
from vae_anomaly.readings.simulator.station import (
    Simulation,
    simulate_fleet,
    simulate_pumping_station,
)

__all__ = [
    "SENTINEL",
    "Fault",
    "FaultKind",
    "Simulation",
    "simulate_fleet",
    "simulate_pumping_station",
    "write_sample",
]
