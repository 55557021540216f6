"""Faults planted into the simulated plant: eight episodes of six kinds, and where they go.

Each fault changes the values of one sensor or a few, for one to eight hours of a running pump,
by an amount that an expert sees on a plot. Sizes are our choice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from vae_anomaly.domain import MICROSECONDS_PER_S, BoolArray, FloatArray, IntArray
from vae_anomaly.readings.simulator.plant import HOUR_S, Plant

FAULT_EVERY_S = 30 * HOUR_S
"""One fault per this much time: 30 hours, so that faults meet different hours of the day."""
MARGIN_S = 2 * HOUR_S
"""Normal operation kept on either side of a fault's slot."""
NUM_DRAWS = 50
CLEAR_RANK = 0.85
"""Of `NUM_DRAWS` scenes, the one taken: a clear one, but not the clearest."""


class FaultKind(StrEnum):
    """What went wrong; the value is what stands in `label_kind`."""

    STEP = "step"
    DRIFT = "drift"
    STUCK = "stuck"
    NOISE_BURST = "noise_burst"
    BROKEN_COUPLING = "broken_coupling"
    CAVITATION = "cavitation"


@dataclass(frozen=True)
class Fault:
    """One planted fault, `[start_us, end_us)` in microseconds since 1970, UTC."""

    kind: FaultKind
    start_us: int
    end_us: int
    sensors: tuple[str, ...]


@dataclass(frozen=True)
class Scene:
    """The stretch of a plant that a fault changes.

    Attributes:
        plant: The whole plant, without faults.
        start: First step of the fault.
        stop: Step after its last.
        rng: Random source.
    """

    plant: Plant
    start: int
    stop: int
    rng: np.random.Generator

    @property
    def num_steps(self) -> int:
        """Steps that the fault lasts."""
        return self.stop - self.start

    @property
    def grown(self) -> FloatArray:
        """Share of the fault that has passed, 0 to 1."""
        return np.linspace(0.0, 1.0, self.num_steps)

    def values(self, sensor: str) -> FloatArray:
        """What the healthy sensor would show."""
        return self.plant.sensors[sensor][self.start : self.stop]

    def size(self, amount: float) -> float:
        """Vary an amount by at most 15 %."""
        return amount * float(self.rng.uniform(0.85, 1.15))


@dataclass(frozen=True)
class FaultPlan:
    """One entry of `ALL_FAULTS`.

    Attributes:
        kind: What is planted.
        hours: How long it lasts.
        change: Returns the new values of the sensors it touches.
        clearness: How well it would show in a scene; where given, a clear scene is chosen.
    """

    kind: FaultKind
    hours: float
    change: Callable[[Scene], dict[str, FloatArray]]
    clearness: Callable[[Scene], float] | None = None


def _pressure_step(scene: Scene) -> dict[str, FloatArray]:
    """A transmitter that shows 0.4 bar too much from one step to the next."""
    return {"discharge_pressure": scene.values("discharge_pressure") + scene.size(40_000.0)}


def _bearing_drift(scene: Scene) -> dict[str, FloatArray]:
    """A bearing that runs dry: 14 K warmer at the end, and a little rougher."""
    return {
        "bearing_temperature": scene.values("bearing_temperature")
        + scene.size(14.0) * scene.grown,
        "vibration": scene.values("vibration") * (1 + scene.size(0.3) * scene.grown),
    }


def _suction_noise(scene: Scene) -> dict[str, FloatArray]:
    """A loose cable: noise more than ten times as strong as usual."""
    noise = scene.size(5_500.0) * scene.rng.standard_normal(scene.num_steps)
    return {"suction_pressure": scene.values("suction_pressure") + noise}


def _stuck_flow(scene: Scene) -> dict[str, FloatArray]:
    """A flow meter that keeps its last value while the plant moves."""
    return {"flow": np.full(scene.num_steps, scene.values("flow")[0])}


def _movement_of_flow(scene: Scene) -> float:
    """Mean distance of the flow from its first value, in m3/s."""
    flow = scene.values("flow")
    return float(np.abs(flow - flow[0]).mean())


def _cavitation(scene: Scene) -> dict[str, FloatArray]:
    """A clogged strainer: suction falls, the pump rattles, flow and current hunt.

    The hunting has a period of about four steps; it comes in within a quarter of the
    fault's length.
    """
    grown = np.minimum(4 * scene.grown, 1.0)
    phase = scene.rng.uniform(0, 2 * np.pi) + 1.5 * np.arange(scene.num_steps)
    hunting = np.sin(phase) + 0.3 * scene.rng.standard_normal(scene.num_steps)
    rattle = 1 + grown * (0.8 + 0.4 * np.abs(hunting))
    return {
        "suction_pressure": scene.values("suction_pressure") - scene.size(15_000.0) * grown,
        "discharge_pressure": scene.values("discharge_pressure")
        - grown * (scene.size(15_000.0) + 9_000.0 * hunting),
        "flow": scene.values("flow") * (1 - grown * (scene.size(0.10) + 0.05 * hunting)),
        "motor_current": scene.values("motor_current")
        * (1 - grown * (scene.size(0.06) + 0.04 * hunting)),
        "vibration": scene.values("vibration") * rattle,
    }


def _foreign_current(scene: Scene) -> dict[str, FloatArray]:
    """A current that shows another time's values: each in range, none fitting the others."""
    current = scene.plant.sensors["motor_current"]
    asked = np.concatenate(([0], np.cumsum(scene.plant.running)))
    first = np.arange(current.size - scene.num_steps + 1)
    apart = np.abs(first - scene.start) >= scene.num_steps
    running = asked[first + scene.num_steps] - asked[first] == scene.num_steps
    donors = _draw(scene.rng, first[apart & running])
    own = scene.values("motor_current")
    at = _pick_clear(
        donors, [np.abs(current[at : at + own.size] - own).mean() for at in donors.tolist()]
    )
    return {"motor_current": current[at : at + own.size]}


def _imbalance_step(scene: Scene) -> dict[str, FloatArray]:
    """Debris in the impeller: vibration jumps by 1.3 mm/s."""
    return {"vibration": scene.values("vibration") + scene.size(1.3)}


def _pressure_drift(scene: Scene) -> dict[str, FloatArray]:
    """A transmitter that loses 0.35 bar within a working day: the subtle one."""
    lost = scene.size(35_000.0) * scene.grown
    return {"discharge_pressure": scene.values("discharge_pressure") - lost}


ALL_FAULTS = (
    FaultPlan(FaultKind.STEP, 3.0, _pressure_step),
    FaultPlan(FaultKind.DRIFT, 6.0, _bearing_drift),
    FaultPlan(FaultKind.NOISE_BURST, 2.0, _suction_noise),
    FaultPlan(FaultKind.STUCK, 7.0, _stuck_flow, _movement_of_flow),
    FaultPlan(FaultKind.CAVITATION, 2.5, _cavitation),
    FaultPlan(FaultKind.BROKEN_COUPLING, 5.0, _foreign_current),
    FaultPlan(FaultKind.STEP, 4.0, _imbalance_step),
    FaultPlan(FaultKind.DRIFT, 8.0, _pressure_drift),
)
"""The order in which faults are planted; after the last comes the first again."""


def plant_faults(
    plant: Plant, *, first_step: int, period_s: float, rng: np.random.Generator
) -> tuple[dict[str, FloatArray], tuple[Fault, ...]]:
    """Plant one fault per `FAULT_EVERY_S` from `first_step` on.

    Args:
        plant: The healthy plant.
        first_step: Steps before this one stay normal.
        period_s: Seconds between steps.
        rng: Random source.

    Returns:
        The sensors with the faults in them, and the faults in the order of time.
    """
    sensors = {name: values.copy() for name, values in plant.sensors.items()}
    num_steps = plant.timestamps.size
    num_faults = round((num_steps - first_step) * period_s / FAULT_EVERY_S)
    slots = np.linspace(first_step, num_steps, num_faults + 1)
    margin = MARGIN_S / period_s
    faults = []
    for number in range(num_faults):
        plan = ALL_FAULTS[number % len(ALL_FAULTS)]
        length = round(plan.hours * HOUR_S / period_s)
        low, high = round(slots[number] + margin), round(slots[number + 1] - margin) - length
        starts = _find_running_most(plant.running, np.arange(low, high + 1), length)
        scenes = [Scene(plant, at, at + length, rng) for at in _draw(rng, starts).tolist()]
        clear = [plan.clearness(scene) if plan.clearness else 0.0 for scene in scenes]
        scene = scenes[_pick_clear(np.arange(len(scenes)), clear)]
        changed = plan.change(scene)
        for name, values in changed.items():
            sensors[name][scene.start : scene.stop] = values
        start_us = int(plant.timestamps[scene.start])
        end_us = start_us + length * round(period_s * MICROSECONDS_PER_S)
        faults.append(Fault(plan.kind, start_us, end_us, tuple(changed)))
    return sensors, tuple(faults)


def _find_running_most(running: BoolArray, starts: IntArray, length: int) -> IntArray:
    """Starts of the stretches during which the pump runs as much as it does in any of them."""
    ran = np.concatenate(([0], np.cumsum(running)))
    steps = ran[starts + length] - ran[starts]
    return np.asarray(starts[steps == steps.max()])


def _draw(rng: np.random.Generator, steps: IntArray) -> IntArray:
    return np.asarray(rng.permutation(steps)[:NUM_DRAWS])


def _pick_clear(choices: IntArray, clearness: list[float]) -> int:
    """The choice at rank `CLEAR_RANK` from the least to the most clear; any among equals."""
    order = np.argsort(clearness, kind="stable")
    return int(choices[order[int(CLEAR_RANK * (order.size - 1))]])
