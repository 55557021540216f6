"""The instruments of the simulated station: names, units and the steps of their displays."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Instrument:
    """One sensor of the station: `resolution` is the step of its display, in `unit`."""

    name: str
    unit: str
    resolution: float
    meaning: str


INSTRUMENTS = (
    Instrument("suction_pressure", "Pa", 100.0, "gauge pressure before the pump"),
    Instrument("discharge_pressure", "Pa", 500.0, "gauge pressure behind the pump"),
    Instrument("flow", "m3/s", 0.0001, "water delivered to the network"),
    Instrument("motor_current", "A", 0.1, "current of the 400 V motor, one phase"),
    Instrument("motor_voltage", "V", 0.5, "voltage between phases"),
    Instrument("motor_temperature", "degC", 0.1, "winding; follows the load within the hour"),
    Instrument("bearing_temperature", "degC", 0.1, "drive-end bearing"),
    Instrument("fluid_temperature", "degC", 0.05, "water in the pump casing"),
    Instrument("vibration", "mm/s", 0.01, "RMS velocity of the bearing housing"),
    Instrument("inlet_valve", "1", 1.0, "1 open, 0 closed; open while the pump is asked to run"),
    Instrument("speed_setpoint", "rpm", 5.0, "what the controller asks of the drive"),
    Instrument("filter_volume", "m3", 5.0, "water since the last backwash; a counter, 0 to 500"),
    Instrument("tank_level", "m", 0.05, "level of the suction tank, a coarse float gauge"),
    Instrument("spare_input", "mA", 0.1, "nothing connected: 4.0 for ever"),
)
