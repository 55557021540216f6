"""The shift channel: has a sensor been off what the others suggest, a little but for long?

The energy of a step squares its residuals, so a shift of half a sigma drowns in noise whatever
it is averaged over. Here the residuals themselves are averaged, so that noise cancels and a shift
stays. They are those of probabilistic PCA, where the network starts: on a few hundred rows it is
the better judge of a sensor's level, and it has no seed.

| symbol | name in code | shape | unit |
|---|---|---|---|
| h | `scaled` | `(steps, channels)` | spreads of each sensor |
| h - B A h | `residual` | `(steps, channels)` | spreads of each sensor |
| a_t | `average` | `(steps, channels)` | spreads of each sensor |
| -log p | `nats` | `(steps,)` | nats |
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vae_anomaly.detector.adaptation import MAX_RESIDUAL, Track, find_drift
from vae_anomaly.detector.smoothing import average_back
from vae_anomaly.domain import FloatArray, IntArray
from vae_anomaly.model.affine import Affine, fit_affine
from vae_anomaly.model.engine import chunk_rows
from vae_anomaly.model.ppca import fit_ppca

STEPS_PER_SPAN = 2.0
"""Spans that are worth one independent average: the average of white noise needs one, and the
residuals of real sensors are not white."""

MAX_FREEDOM = 5.0
"""Degrees of freedom that no length of training exceeds: what comes later is not drawn from what
was before. Without it the shifts of a drifting plant drown its faults (VUS-PR on GECCO 2018, one
seed: 0.26, with 10 it is 0.30, with 5 it is 0.36; TSB-AD-M: 0.496, 0.497, 0.497)."""

MIN_SPREAD = 0.05
"""Lower bound of a residual's standard deviation, as a share of the sensor's spread: what is
predicted better than that is predicted so in training only."""

WIDE = 64
"""Sensors from which on products are filled up to multiples of as many."""

FILL_ROUNDS = 4
"""Rounds of linear reconstruction that fill missing entries."""

MAX_GRID, GRID_STEPS = 60.0, 15_360
"""Where and how densely -log p is tabulated: at inverse hyperbolic sines of deviations, in units
of the square root of the degrees of freedom. They are evenly spaced near 0 and in the logarithm
far out, and -log p is straight at both ends."""

MAX_SIZE = 1e150
"""Size at which t is cut, so that its square is still a double."""


@dataclass(frozen=True)
class AssetLevel:
    """Where the residuals of one asset lie in normal operation.

    Attributes:
        mean: Mean residual per channel, in spreads.
        num_blocks: Independent averages that the mean rests on.
    """

    mean: tuple[float, ...]
    num_blocks: float


@dataclass(frozen=True)
class _Linear:
    """The linear model, ready for products: `(h - mean) @ encode @ decode` is B A (h - mean)."""

    mean: FloatArray
    encode: FloatArray
    decode: FloatArray

    @classmethod
    def make(cls, mean: FloatArray, projection: FloatArray, loadings: FloatArray) -> _Linear:
        """Lay out A and B for products; where wide, filled up to whole blocks.

        What is left over of a wide matrix is rounded by where a row stands among the others and
        by how many threads the product has.
        """
        encode, decode = projection.T, loadings.T
        if len(mean) > WIDE:
            encode, decode = (
                np.pad(one, [(0, -size % WIDE) for size in one.shape]) for one in (encode, decode)
            )
        return cls(mean, encode, decode)


@dataclass(frozen=True)
class ShiftModel:
    """Probabilistic PCA of the modelled sensors, and how its averaged residuals scatter.

    Attributes:
        loc: Middle of each sensor, raw units.
        scale: Signed spread of each sensor, raw units.
        mean: Mean of the scaled sensors.
        loadings: B, one row per sensor.
        projection: A, one row per latent direction.
        span: Span of the average, in steps.
        spread: Standard deviation of the averaged residuals about the level of their asset.
        freedom: Degrees of freedom of that deviation.
        levels: Level of each asset.
        watched: Sensors that are looked at; the others are context.
    """

    loc: tuple[float, ...]
    scale: tuple[float, ...]
    mean: tuple[float, ...]
    loadings: tuple[tuple[float, ...], ...]
    projection: tuple[tuple[float, ...], ...]
    span: int
    spread: tuple[float, ...]
    freedom: float
    levels: dict[str, AssetLevel]
    watched: tuple[int, ...]

    @cached_property
    def _linear(self) -> _Linear:
        width = len(self.mean)
        projection = np.array(self.projection).reshape(-1, width)
        loadings = np.array(self.loadings).reshape(width, -1)
        return _Linear.make(np.array(self.mean), projection, loadings)

    @cached_property
    def _nats(self) -> FloatArray:
        """-log p at each entry of the table that `find_nats` reads between."""
        sizes = math.sqrt(self.freedom) * np.sinh(np.linspace(0.0, MAX_GRID, GRID_STEPS + 1))
        nats: FloatArray = -log_two_sided_t(sizes, freedom=self.freedom)
        return nats

    def find_nats(self, size: FloatArray) -> FloatArray:
        """Return -log of the probability that any sensor is so many deviations off its level.

        Read from a table whose entries lie so close that it is exact to 1e-5 nats.

        Args:
            size: Of the largest deviation. Shape `(steps,)`.

        Returns:
            Nats, higher is stranger; below 0 where one of so many sensors always is that far.
        """
        at = np.arcsinh(size / math.sqrt(self.freedom))
        at = np.minimum(at * (GRID_STEPS / MAX_GRID), GRID_STEPS - 1e-9)
        below = at.astype(np.int64)
        low = self._nats[below]
        nats: FloatArray = low + (at - below) * (self._nats[below + 1] - low)
        return nats - math.log(len(self.watched))

    def find_residual(self, values: FloatArray) -> FloatArray:
        """Return what each sensor reads beyond what the linear model makes of all.

        Args:
            values: Raw values of the modelled sensors, NaN where missing.
                Shape `(steps, channels)`.

        Returns:
            Residuals in spreads, NaN where missing. Same shape.
        """
        affine = Affine(np.array(self.loc), np.array(self.scale))
        return _find_residual(values, affine, self._linear)

    def level_of(self, asset: str) -> AssetLevel:
        """Return the level of an asset; of several, an unknown one may be anywhere between."""
        return self.levels.get(asset, self._level_of_unknown)

    @cached_property
    def _level_of_unknown(self) -> AssetLevel:
        levels = list(self.levels.values())
        if len(levels) == 1:
            return levels[0]
        return AssetLevel(tuple(np.mean([one.mean for one in levels], axis=0).tolist()), 1.0)


@dataclass(frozen=True)
class Shifts:
    """How far off the most shifted sensor of each step is.

    Attributes:
        nats: -log p of the largest averaged residual, with p the probability that any of the
            sensors is so far off in normal operation. Higher is stranger. Shape `(steps,)`.
        channel: Which modelled sensor it is. Shape `(steps,)`.
    """

    nats: FloatArray
    channel: IntArray


@dataclass(frozen=True)
class AssetSteps:
    """Steps in order of asset and time.

    Attributes:
        values: Raw values of the modelled sensors, NaN where missing. Shape `(steps, channels)`.
        segment_start: As in `Steps`. Shape `(steps,)`.
        track: When and where the steps were, and how far levels reach.
        asset_names: Names by code.
    """

    values: FloatArray
    segment_start: IntArray
    track: Track
    asset_names: tuple[str, ...]

    @cached_property
    def present(self) -> IntArray:
        """Codes of the assets that have steps, rising."""
        codes = self.track.asset_codes
        return codes[:1] if codes[0] == codes[-1] else np.unique(codes)

    @property
    def names(self) -> list[str]:
        """Their names."""
        return [self.asset_names[code] for code in self.present]

    @property
    def positions(self) -> IntArray:
        """Where each step's asset stands among them. Shape `(steps,)`."""
        return np.searchsorted(self.present, self.track.asset_codes)


def fit_shift_model(
    steps: AssetSteps, *, latent: int, span: int, context: Sequence[int] = ()
) -> ShiftModel:
    """Fit the linear model, and how its averaged residuals scatter in normal operation.

    Args:
        steps: Normal steps.
        latent: Latent directions.
        span: Span of the average, in steps.
        context: Channels that the others depend on and that are not looked at.

    Returns:
        The model.

    Source:
        Tipping and Bishop (1999); averaged residuals as a control chart: Lowry, Woodall, Champ
        and Rigdon (1992).
    """
    affine = fit_affine(steps.values)
    scaled = affine.apply(steps.values)
    # as many directions as sensors would leave no residual; a sensor alone is its own residual
    ppca = fit_ppca(np.nan_to_num(scaled), latent=min(latent, scaled.shape[1] - 1))
    linear = _Linear.make(ppca.mean, ppca.projection, ppca.loadings)
    residual = _find_residual(steps.values, affine, linear)
    codes = steps.track.asset_codes
    levels = {
        steps.asset_names[code]: _find_asset_level(residual[codes == code], span=span)
        for code in steps.present
    }
    offset = np.array([levels[name].mean for name in steps.names])
    average = residual - offset[steps.positions]
    _average(average, steps, span=span)
    bound = MIN_SPREAD / math.sqrt(span)
    spread = np.maximum(np.sqrt(np.mean(average**2, axis=0)), bound)
    num_blocks = len(codes) / (STEPS_PER_SPAN * span)
    return ShiftModel(
        loc=tuple(affine.loc.tolist()),
        scale=tuple(affine.scale.tolist()),
        mean=tuple(ppca.mean.tolist()),
        loadings=tuple(map(tuple, ppca.loadings.tolist())),
        projection=tuple(map(tuple, ppca.projection.tolist())),
        span=span,
        spread=tuple(spread.tolist()),
        freedom=min(max(num_blocks - len(levels), 1.0), MAX_FREEDOM),
        levels=levels,
        watched=tuple(k for k in range(len(spread)) if k not in context),
    )


def find_shifts(model: ShiftModel, steps: AssetSteps) -> Shifts:
    """Find how far off its level the most shifted sensor of each step has been.

    The average over about `span` steps, divided by its own spread, follows a t distribution as
    far as normal operation was seen: few normal steps leave little to be sure of. Where averages
    have scattered more than that lately, it is their recent spread.

    Args:
        model: The fitted model.
        steps: The steps.

    Returns:
        One entry per step; a step depends on no later one.
    """
    if not len(steps.values):
        return Shifts(np.empty(0), np.empty(0, dtype=np.int64))
    levels = [model.level_of(name) for name in steps.names]
    at = steps.positions
    means, spread = np.array([one.mean for one in levels]), np.array(model.spread)
    residual = model.find_residual(steps.values)
    residual -= means[at] if len(levels) > 1 else means[0]
    _average(residual, steps, span=model.span)
    average = np.divide(residual, spread, out=residual)
    lately = find_drift(average, steps.track)
    narrower = 1.0 / np.square(lately.width)
    largest = np.zeros(len(average))
    channel = np.zeros(len(average), dtype=np.int64)
    for k in model.watched:
        size = average[:, k]
        size -= lately.at_steps(lately.level[:, k])
        np.abs(size, out=size)
        size *= lately.at_steps(narrower[:, k])
        is_larger = size > largest
        np.copyto(channel, k, where=is_larger)
        np.maximum(largest, size, out=largest)
    unsure = np.sqrt(1.0 + 1.0 / np.array([one.num_blocks for one in levels]))
    return Shifts(model.find_nats(largest / unsure[at]), channel)


def log_two_sided_t(size: FloatArray, *, freedom: float) -> FloatArray:
    """Return the log of the probability that |t| exceeds a size.

    P(|t| > s) = I_x(freedom / 2, 1 / 2) with x = freedom / (freedom + s^2), the regularised
    incomplete beta function; where it is too small for a double, by its leading term.

    Args:
        size: At least 0. Any shape.
        freedom: Degrees of freedom, above 0.

    Returns:
        At most 0. Same shape.

    Source:
        Abramowitz and Stegun (1972), 26.5.4 and 26.7.1.

    Example:
        >>> np.exp(log_two_sided_t(np.array([0.0, 2.0, 12.706]), freedom=1.0)).round(3)
        array([1.   , 0.295, 0.05 ])
    """
    from scipy import special

    half, squared = 0.5 * freedom, np.minimum(size, MAX_SIZE) ** 2
    x = freedom / (freedom + squared)
    inside = special.betainc(half, 0.5, x)
    log_x = -np.log1p(squared / freedom)
    with np.errstate(divide="ignore"):
        leading = half * log_x - 0.5 * np.log1p(-np.minimum(x, 1.0 - 1e-16))
        leading = leading - math.log(half) - special.betaln(half, 0.5)
        exact = np.log(inside)
    return np.asarray(np.where(inside > np.finfo(float).tiny, exact, leading))


def _find_residual(values: FloatArray, affine: Affine, linear: _Linear) -> FloatArray:
    residual = np.empty(values.shape, order="F")
    chunk = chunk_rows(values.shape[1])
    for start in range(0, len(values), chunk):
        rows = slice(start, start + chunk)
        centred = affine.apply(values[rows])
        np.clip(centred, -MAX_RESIDUAL, MAX_RESIDUAL, out=centred)
        centred -= linear.mean
        missing = np.isnan(centred)
        filled = np.where(missing, 0.0, centred)
        for _ in range(FILL_ROUNDS if missing.any() else 0):
            filled = np.where(missing, _reconstruct(filled, linear, chunk), filled)
        np.subtract(centred, _reconstruct(filled, linear, chunk), out=residual[rows])
    return residual


def _reconstruct(centred: FloatArray, linear: _Linear, chunk: int) -> FloatArray:
    """Project the rows of a chunk: products of another shape or order are rounded otherwise."""
    rows, width = centred.shape
    padded = np.zeros((chunk, len(linear.encode)))
    padded[:rows, :width] = centred
    product: FloatArray = padded @ linear.encode @ linear.decode
    return product[:rows, :width]


def _find_asset_level(residual: FloatArray, *, span: int) -> AssetLevel:
    count = np.maximum((~np.isnan(residual)).sum(axis=0), 1)
    mean = np.nansum(residual, axis=0) / count
    return AssetLevel(tuple(mean.tolist()), max(len(residual) / (STEPS_PER_SPAN * span), 1.0))


def _average(residual: FloatArray, steps: AssetSteps, *, span: int) -> None:
    """Average the residuals before each step, in place, a missing one counting as 0."""
    for k in range(residual.shape[1]):
        known = np.nan_to_num(residual[:, k])
        residual[:, k] = average_back(known, steps.segment_start, span=span)
