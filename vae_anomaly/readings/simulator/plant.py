"""The plant behind the sample data: a pumping station in raw units, without faults or dirt.

A speed-controlled pump lifts water from a tank into a town's network. Demand sets the speed;
the crossing of the pump curve and the network curve gives flow and head; those give power,
current, heat and vibration. Every sensor therefore follows the others. Levels, slopes and
noise are our choice, of the size found on a 45 kW centrifugal pump.

| symbol | meaning | unit |
|---|---|---|
| `ratio` | speed over rated speed | 1 |
| `flow` | volume through the pump | m3/s |
| `head` | pressure as metres of water | m |
| `load` | flow over rated flow | 1 |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from vae_anomaly.domain import (
    MICROSECONDS_PER_S,
    SECONDS_PER_DAY,
    BoolArray,
    FloatArray,
    IntArray,
)
from vae_anomaly.readings.simulator.instruments import INSTRUMENTS

RATED_SPEED_RPM = 1450.0
RATED_FLOW = 0.06  # m3/s
SHUT_OFF_HEAD_M = 80.0  # of the pump at rated speed and no flow
STATIC_HEAD_M = 47.0  # of the network at no flow
PUMP_CURVE = 4500.0  # head lost inside the pump, m per (m3/s)^2
NETWORK_CURVE = 4700.0  # head lost in the network, m per (m3/s)^2
PASCAL_PER_M = 9806.65  # water
SUCTION_DEPTH_M = 1.5  # from the floor of the tank down to the pump
BACKWASH_M3 = 500.0  # the inlet filter is washed after this much water
TANK_AREA_M2 = 400.0
TANK_LEVEL_M = 3.2
TANK_LAG_S = 6 * 3600.0  # how fast the float valve pulls the level back
MEAN_FLOW = 0.043  # m3/s, night stop included
HOUR_S = 3600.0


@dataclass(frozen=True)
class Plant:
    """What the instruments would show before rounding.

    Attributes:
        timestamps: Microseconds since 1970, UTC. Shape `(steps,)`.
        sensors: Values per sensor name, each of shape `(steps,)`.
        running: Whether the pump is asked to run. Shape `(steps,)`.
    """

    timestamps: IntArray
    sensors: dict[str, FloatArray]
    running: BoolArray


@dataclass(frozen=True)
class _Clock:
    """Times and the random source, passed through the physics."""

    time_s: FloatArray
    period_s: float
    rng: np.random.Generator

    @property
    def hour(self) -> FloatArray:
        return (self.time_s % SECONDS_PER_DAY) / HOUR_S

    @property
    def day(self) -> IntArray:
        return (self.time_s // SECONDS_PER_DAY).astype(np.int64)

    @property
    def weekday(self) -> IntArray:
        return (self.day + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0

    def noise(self) -> FloatArray:
        """Independent standard normal values."""
        return self.rng.standard_normal(self.time_s.size)

    def wander(self, *, tau_s: float, size: float) -> FloatArray:
        """Stationary first-order autoregression with standard deviation `size`."""
        keep = np.exp(-self.period_s / tau_s)
        shocks = self.noise() * size
        shocks[1:] *= np.sqrt(1 - keep**2)
        return np.asarray(lfilter([1.0], [1.0, -keep], shocks))

    def lag(self, target: FloatArray, *, tau_s: float) -> FloatArray:
        """First-order lag behind `target`, settled at the first step."""
        keep = np.exp(-self.period_s / tau_s)
        settled, _ = lfilter([1 - keep], [1.0, -keep], target, zi=[keep * target[0]])
        return np.asarray(settled)


def simulate_plant(timestamps: IntArray, *, period_s: float, rng: np.random.Generator) -> Plant:
    """Run the station through the given times.

    Args:
        timestamps: Microseconds since 1970, UTC, evenly spaced. Shape `(steps,)`.
        period_s: Seconds between them.
        rng: Random source; the same state gives the same plant.

    Returns:
        All sensors of `INSTRUMENTS`, not rounded.
    """
    clock = _Clock(timestamps / MICROSECONDS_PER_S, period_s, rng)
    running = _find_running(clock)
    setpoint = np.where(running, _make_setpoint(clock), 0.0)
    ratio = clock.lag(setpoint, tau_s=40.0) / RATED_SPEED_RPM
    network = STATIC_HEAD_M + clock.wander(tau_s=2 * HOUR_S, size=0.3)
    resistance = NETWORK_CURVE * np.exp(clock.wander(tau_s=HOUR_S, size=0.04))
    level = _make_tank_level(clock, ratio, network, resistance)
    flow = _find_flow(ratio, network, resistance, level)
    filtered = np.cumsum(flow) * period_s % BACKWASH_M3
    suction = (
        level + SUCTION_DEPTH_M - (0.9 + 0.2 * filtered / BACKWASH_M3) * (flow / RATED_FLOW) ** 2
    )
    sensors = _make_hydraulics(clock, flow, suction, network + resistance * flow**2)
    sensors |= _make_electrics(clock, flow, ratio)
    sensors |= _make_heat(clock, sensors["motor_current"], ratio)
    sensors["vibration"] = _make_vibration(clock, flow, ratio)
    sensors["inlet_valve"] = running.astype(np.float64)
    sensors["speed_setpoint"] = setpoint
    sensors["filter_volume"] = filtered
    sensors["tank_level"] = level
    sensors["spare_input"] = np.full(flow.size, 4.0)
    ordered = {instrument.name: sensors[instrument.name] for instrument in INSTRUMENTS}
    return Plant(timestamps=timestamps, sensors=ordered, running=running)


def _find_running(clock: _Clock) -> BoolArray:
    """When the pump runs: it stops every night and on most afternoons."""
    day = clock.day - clock.day[0]
    days, rng = int(day[-1]) + 1, clock.rng
    weekend = (np.arange(days) + clock.weekday[0]) % 7 >= 5
    night = np.clip(rng.normal(1.6, 0.2, days) + 0.4 * weekend, 1.0, 2.5)
    night_end = night + np.clip(rng.normal(2.8, 0.25, days), 2.0, 3.5)
    noon = rng.uniform(13.0, 15.0, days)
    noon_end = noon + np.where(rng.random(days) < 0.7, rng.uniform(0.5, 1.0, days), 0.0)
    at_night = (clock.hour >= night[day]) & (clock.hour < night_end[day])
    at_noon = (clock.hour >= noon[day]) & (clock.hour < noon_end[day])
    return np.asarray(~(at_night | at_noon))


def _make_setpoint(clock: _Clock) -> FloatArray:
    """Speed that follows the town's demand: a daily curve, the weekday, and slow chance."""

    def peak(at: float, width: float) -> FloatArray:
        apart = (clock.hour - at + 12) % 24 - 12
        return np.exp(-0.5 * (apart / width) ** 2)

    workday = 0.30 + 0.50 * peak(7.5, 1.7) + 0.25 * peak(12.5, 2.5) + 0.45 * peak(19.0, 2.4)
    weekend = 0.30 + 0.45 * peak(9.5, 2.2) + 0.25 * peak(13.5, 2.5) + 0.40 * peak(19.2, 2.6)
    of_weekday = np.array([1.01, 1.00, 1.00, 1.00, 1.02, 1.00, 0.98])[clock.weekday]
    demand = np.where(clock.weekday >= 5, weekend, workday) * of_weekday
    demand = clock.lag(demand, tau_s=0.3 * HOUR_S)
    demand += clock.lag(clock.wander(tau_s=1.5 * HOUR_S, size=0.06), tau_s=600.0)
    demand += clock.wander(tau_s=6 * HOUR_S, size=0.02)
    speed = np.clip(1140.0 + 310.0 * demand, 1160.0, 1500.0)
    return np.asarray(5.0 * np.round(speed / 5.0))


def _find_flow(
    ratio: FloatArray, network: FloatArray, resistance: FloatArray, level: FloatArray | float
) -> FloatArray:
    """Crossing of pump and network curve; the check valve lets nothing back."""
    spare = SHUT_OFF_HEAD_M * ratio**2 + level - network
    return np.sqrt(np.maximum(spare, 0.0) / (PUMP_CURVE + resistance))


def _make_tank_level(
    clock: _Clock, ratio: FloatArray, network: FloatArray, resistance: FloatArray
) -> FloatArray:
    """Level of a tank whose float valve refills it: area * dh/dt = inflow - outflow."""
    outflow = _find_flow(ratio, network, resistance, TANK_LEVEL_M)
    target = TANK_LEVEL_M - (outflow - MEAN_FLOW) * TANK_LAG_S / TANK_AREA_M2
    target += clock.wander(tau_s=4 * HOUR_S, size=0.15)
    return clock.lag(target, tau_s=TANK_LAG_S)


def _make_hydraulics(
    clock: _Clock, flow: FloatArray, suction_head: FloatArray, discharge_head: FloatArray
) -> dict[str, FloatArray]:
    """Pressures and flow, with noise that grows with the load."""
    load = flow / RATED_FLOW
    suction = PASCAL_PER_M * suction_head + clock.noise() * (80.0 + 350.0 * load)
    discharge = PASCAL_PER_M * discharge_head + clock.noise() * (500.0 + 2500.0 * load)
    measured = flow * (1 + 0.008 * clock.noise()) + 0.0001 * clock.noise()
    measured = np.where(flow > 0.002, measured, 0.0)  # the meter's own low-flow limit
    return {"suction_pressure": suction, "discharge_pressure": discharge, "flow": measured}


def _make_electrics(clock: _Clock, flow: FloatArray, ratio: FloatArray) -> dict[str, FloatArray]:
    """Voltage of the grid and current from hydraulic power, efficiency and magnetisation."""
    head = np.maximum(SHUT_OFF_HEAD_M * ratio**2 - PUMP_CURVE * flow**2, 0.0)
    efficiency = 0.80 - 0.30 * _off_best_point(flow, ratio)
    power = PASCAL_PER_M * flow * head / np.maximum(efficiency, 0.4) + 2500.0 * ratio**3
    grid = 402.0 + 2.0 * np.cos(2 * np.pi * (clock.hour - 3) / 24)
    grid += clock.wander(tau_s=HOUR_S, size=1.0)
    active = power / (0.92 * 0.88 * np.sqrt(3.0) * grid)  # efficiency and power factor
    current = np.hypot(active, 20.0 * ratio)
    voltage = grid - 0.04 * current + 0.4 * clock.noise()
    current += clock.noise() * (0.03 + 0.9 * ratio * flow / RATED_FLOW)
    return {"motor_current": np.maximum(current, 0.0), "motor_voltage": voltage}


def _make_heat(clock: _Clock, current: FloatArray, ratio: FloatArray) -> dict[str, FloatArray]:
    """Temperatures that lag behind what heats them, above a room that changes slowly."""
    daily = np.cos(2 * np.pi * (clock.hour - 15) / 24)
    room = 17.0 + 1.0 * daily + clock.wander(tau_s=8 * HOUR_S, size=0.4)
    source = 9.0 + 0.3 * daily + clock.wander(tau_s=6 * HOUR_S, size=0.15)
    still = ratio < 0.1
    fluid = clock.lag(source + np.where(still, 0.4 * (room - source), 0.3), tau_s=0.7 * HOUR_S)
    motor = clock.lag(room + 46.0 * (current / 80.0) ** 2, tau_s=0.75 * HOUR_S)
    bearing = clock.lag(room + 20.0 * ratio**1.5 + 0.25 * (motor - room), tau_s=0.5 * HOUR_S)
    return {
        "motor_temperature": motor + 0.15 * clock.noise(),
        "bearing_temperature": bearing + 0.12 * clock.noise(),
        "fluid_temperature": fluid + 0.04 * clock.noise(),
    }


def _make_vibration(clock: _Clock, flow: FloatArray, ratio: FloatArray) -> FloatArray:
    """RMS velocity: grows with speed and off the best point, with a resonance near 1270 rpm."""
    resonance = 0.35 * np.exp(-0.5 * ((ratio * RATED_SPEED_RPM - 1270.0) / 30.0) ** 2)
    shaking = 2.1 * ratio**3 + 0.6 * _off_best_point(flow, ratio) + resonance
    shaking *= np.exp(clock.wander(tau_s=1200.0, size=0.04) + 0.05 * clock.noise())
    return np.where(ratio > 0.1, shaking, 0.0) + 0.08 + 0.01 * np.abs(clock.noise())


def _off_best_point(flow: FloatArray, ratio: FloatArray) -> FloatArray:
    """Squared relative distance from the flow of best efficiency at this speed."""
    best = 0.055 * np.maximum(ratio, 0.1)
    return np.minimum((flow / best - 1) ** 2, 1.0)
