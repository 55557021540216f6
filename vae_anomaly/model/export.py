"""The scoring function of a trained VAE as an ONNX graph, written from its weights.

`VAE.score_observed` is the definition; this is the same arithmetic for ONNX Runtime, made
without tracing, so that every backend exports and an export takes milliseconds. The two are
compared at every save and at every load.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from keras import ops
from onnx import TensorProto, helper, numpy_helper

from vae_anomaly.model.graph_terms import GraphOps, Term
from vae_anomaly.model.likelihoods import Reading
from vae_anomaly.model.special import HALF_LOG_TWO_PI
from vae_anomaly.model.vae import (
    FILL_ROUNDS,
    LATENT_SIGMA_OFFSET,
    LOG_SIGMA_RANGE,
    MAX_SCALED,
    MIN_LATENT_SIGMA,
    REFINE_ROUNDS,
)

if TYPE_CHECKING:
    from vae_anomaly.model.vae import VAE

OPSET = 18
IR_VERSION = 8
"""Of ONNX 1.13 (2022), the first with this opset: old runtimes read it too."""

LEAKY_SLOPE = 0.2
"""The slope that `keras.activations.leaky_relu` has by default."""

OUTPUTS = ("contribution", "kl", "mean", "sigma")


def export_onnx(vae: VAE) -> bytes:
    """Write the scoring function of a VAE as an ONNX model.

    Args:
        vae: The trained VAE.

    Returns:
        The model. Inputs: `windows`, float64, anything finite where missing, and `observed`,
        float32, 1 where observed, each `(window * channels, rows)`. Outputs: as
        `VAE.score_observed`, transposed, but for the latent mean, and with a contribution that
        means nothing where the value is missing.
    """
    content: bytes = _ScoreGraph(vae).make().SerializeToString()
    return content


class _ScoreGraph:
    """Collects nodes and weights; every method that adds a node returns its output's name.

    Every value is laid out as lines, one per channel or unit, with the rows along them: a line has
    a cost of its own, and so there are few long ones instead of many short ones.
    """

    def __init__(self, vae: VAE) -> None:
        self.vae = vae
        self.width = vae.channels * vae.window
        self.weights: dict[str, Any] = {}
        self.dense_weights: dict[str, list[str]] = {}
        self.nodes: list[Any] = []
        self.num_names = 0

    def make(self) -> Any:
        vae, affine = self.vae, self.vae.affine
        loc, scale = _numbers(affine.loc), _numbers(affine.scale)
        log_scale = _numbers(affine.log_scale) + (0.0 if vae.parts else HALF_LOG_TWO_PI)
        windows = "windows"
        exact = self.node("Div", self.node("Sub", windows, self._tile(loc)), self._tile(scale))
        scaled = self._clip(self._to_float32(exact), -MAX_SCALED, MAX_SCALED, number=np.float32)
        filled, first_hidden = self._fill_where_missing(scaled)
        latent_mean, latent_sigma = self._encode(filled, first_hidden)
        scaled_mean, scaled_sigma = self._decode(latent_mean, last_only=True)
        loc, scale, spread, log_scale = (
            self._column(one) for one in (loc, scale, np.abs(scale), log_scale)
        )
        mean = self.node("Add", loc, self.node("Mul", scale, self._to_float64(scaled_mean)))
        sigma = self.node("Mul", spread, self._to_float64(scaled_sigma))
        values = self._lines(windows, self.width - vae.channels, self.width)
        residual = self.node("Div", self.node("Sub", values, mean), sigma)
        log_sigma = self.node("Add", self._to_float64(self.node("Log", scaled_sigma)), log_scale)
        if vae.parts:
            half_step = self.node("Div", self._column(_numbers(vae.half_step)), scaled_sigma)
            contribution = self._mixed_nll(
                residual, log_sigma, values, mean, self._to_float64(half_step)
            )
        else:
            energy = self._times(self.node("Mul", residual, residual), np.float64(0.5))
            contribution = self.node("Add", energy, log_sigma)
        kl = self._times(
            self._to_float64(self._kl(latent_mean, latent_sigma)), np.float64(1 / vae.window)
        )
        for name, found in zip(OUTPUTS, (contribution, kl, mean, sigma), strict=True):
            self.nodes.append(helper.make_node("Identity", [found], [name]))
        return self._make_model()

    def _mixed_nll(self, *names: str) -> str:
        """Write the nats of every channel by its own likelihood, from the formulas themselves.

        `names` are those of a `Reading`; the formulas want channels last.
        """
        reading = Reading(*(Term(self._transpose(name), self) for name in names))
        found = []
        for likelihood, part in self.vae.parts:
            group = Term(self.weight(self.vae.group[part, part]), self)
            found.append(likelihood.nll(GraphOps(self), reading.take(part, group)).name)
        return self._transpose(self.node("Concat", *found, axis=-1))

    def _make_model(self) -> Any:
        shape, out = [self.width, "rows"], [self.vae.channels, "rows"]
        inputs = [
            helper.make_tensor_value_info("windows", TensorProto.DOUBLE, shape),
            helper.make_tensor_value_info("observed", TensorProto.FLOAT, shape),
        ]
        outputs = [
            helper.make_tensor_value_info(
                name, TensorProto.DOUBLE, ["rows"] if name == "kl" else out
            )
            for name in OUTPUTS
        ]
        weights = [numpy_helper.from_array(value, name) for name, value in self.weights.items()]
        graph = helper.make_graph(self.nodes, "score", inputs, outputs, weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model)
        return model

    def _fill_where_missing(self, scaled: str) -> tuple[str, str]:
        """Fill missing entries and start encoding; where none is missing that is one product."""
        observed = "observed"
        any_missing = self.node(
            "Less", self._reduce("ReduceMin", observed, axes=None), self.weight(np.float32(1))
        )
        outside, self.nodes = self.nodes, []
        missing = self.node("Sub", self.weight(np.float32(1)), observed)
        seen = self.node("Mul", scaled, observed)
        filled = seen
        if self.vae.linear:
            for _ in range(FILL_ROUNDS):
                rebuilt = self._dense(
                    self._dense(filled, self.vae.linear_encoder), self.vae.linear_decoder
                )
                filled = self._where_missing(missing, rebuilt, seen)
        path = self._dense(missing, self.vae.encoder_missing)
        for _ in range(REFINE_ROUNDS):
            latent_mean, _ = self._encode(filled, self._enter(filled, path))
            mean, _ = self._decode(latent_mean)
            filled = self._where_missing(missing, self._limit_filling(mean), filled)
        then_branch = self._branch("some_missing", filled, self._enter(filled, path))
        else_branch = self._branch("none_missing", scaled, self._enter(scaled))
        self.nodes = outside
        names = [self._name(), self._name()]
        self.nodes.append(
            helper.make_node(
                "If", [any_missing], names, then_branch=then_branch, else_branch=else_branch
            )
        )
        return names[0], names[1]

    def _limit_filling(self, mean: str) -> str:
        if self.vae.parts:
            low, high = (self._column(_numbers(one)) for one in self.vae.find_fill_limits())
            mean = self.node("Min", self.node("Max", mean, low), high)
        return self._clip(mean, -MAX_SCALED, MAX_SCALED, number=np.float32)

    def _branch(self, name: str, *results: str) -> Any:
        outputs = []
        for result in results:
            copy = self.node("Identity", result)
            outputs.append(helper.make_tensor_value_info(copy, TensorProto.FLOAT, [None, None]))
        nodes, self.nodes = self.nodes, []
        return helper.make_graph(nodes, name, [], outputs)

    def _where_missing(self, missing: str, filling: str, otherwise: str) -> str:
        is_missing = self.node("Greater", missing, self.weight(np.float32(0)))
        return self.node("Where", is_missing, filling, otherwise)

    def _enter(self, filled: str, missing_path: str | None = None) -> str:
        """Give the input of the first activation; rows without a missing entry add zeros."""
        hidden = self._dense(filled, self.vae.encoder[0])
        return hidden if missing_path is None else self.node("Add", hidden, missing_path)

    def _encode(self, filled: str, first_hidden: str) -> tuple[str, str]:
        vae = self.vae
        hidden = self._stack(self._activate(first_hidden), vae.encoder[1:])
        linear = (filled, vae.linear_encoder) if vae.linear else None
        mean, scale = self._two_heads(hidden, vae.latent_mean, vae.latent_scale, linear=linear)
        raw = self._plus(scale, np.float32(LATENT_SIGMA_OFFSET))
        return mean, self._plus(self._softplus(raw), np.float32(MIN_LATENT_SIGMA))

    def _decode(self, latent: str, *, last_only: bool = False) -> tuple[str, str]:
        """Decode all steps of the window, or the last one alone."""
        vae = self.vae
        hidden = self._stack(latent, vae.decoder)
        linear = (latent, vae.linear_decoder) if vae.linear else None
        num_steps = 1 if last_only else vae.window
        mean, log_sigma = self._two_heads(
            hidden, vae.mean, vae.log_sigma, linear=linear, width=num_steps * vae.channels
        )
        log_sigma = self._clip(log_sigma, *LOG_SIGMA_RANGE, number=np.float32)
        free = self.node("Exp", self._times(log_sigma, np.float32(2)))
        floor = self._column(np.tile(np.square(_numbers(vae.floor)), num_steps))
        return mean, self.node("Sqrt", self.node("Add", free, floor))

    def _two_heads(
        self,
        hidden: str,
        mean: Any,
        other: Any,
        *,
        linear: tuple[str, Any] | None,
        width: int | None = None,
    ) -> tuple[str, str]:
        """Multiply by both heads at once; to the first the linear path is added.

        `width` takes the last columns of each head alone. Small products cost by their number
        more than by their size.
        """
        columns = slice(-(width or mean.units), None)
        kernel, bias = (
            np.concatenate([_numbers(one)[..., columns], _numbers(two)[..., columns]], axis=-1)
            for one, two in ((mean.kernel, other.kernel), (mean.bias, other.bias))
        )
        added = self._column(bias)
        if linear is not None:
            inputs, layer = linear
            path, start = (_numbers(one)[..., columns] for one in (layer.kernel, layer.bias))
            no_path, no_start = np.zeros_like(path), np.zeros_like(start)
            added = self._multiply(
                np.concatenate([path, no_path], axis=1),
                inputs,
                self._column(np.concatenate([start, no_start]) + bias),
            )
        both, middle = self._multiply(kernel, hidden, added), kernel.shape[1] // 2
        return self._lines(both, 0, middle), self._lines(both, middle, 2 * middle)

    def _kl(self, mean: str, sigma: str) -> str:
        squares = self.node("Add", self.node("Mul", mean, mean), self.node("Mul", sigma, sigma))
        logs = self._times(self.node("Log", sigma), np.float32(2))
        terms = self.node("Sub", self._plus(squares, np.float32(-1)), logs)
        return self._times(self._reduce("ReduceSum", terms, axes=[0]), np.float32(0.5))

    def _stack(self, hidden: str, layers: Iterable[Any]) -> str:
        for layer in layers:
            hidden = self._activate(self._dense(hidden, layer))
        return hidden

    def _activate(self, hidden: str) -> str:
        if self.vae.settings["activation"] == "leaky_relu":
            return self.node("LeakyRelu", hidden, alpha=LEAKY_SLOPE)
        return self.node("Mul", hidden, self.node("Sigmoid", hidden))

    def _softplus(self, raw: str) -> str:
        """Write log(1 + e^x) with nodes that work on many numbers at once, as its own does not."""
        small = self.node("Exp", self.node("Neg", self.node("Abs", raw)))
        start = self.node("Max", raw, self.weight(np.float32(0)))
        return self.node("Add", start, self.node("Log", self._plus(small, np.float32(1))))

    def _dense(self, inputs: str, layer: Any) -> str:
        if layer.name not in self.dense_weights:
            bias = [self._column(_numbers(layer.bias))] if layer.use_bias else []
            self.dense_weights[layer.name] = [self.weight(_numbers(layer.kernel)), *bias]
        kernel, *bias = self.dense_weights[layer.name]
        return self.node("Gemm", kernel, inputs, *bias, transA=1)

    def _multiply(self, kernel: Any, inputs: str, added: str) -> str:
        return self.node("Gemm", self.weight(kernel), inputs, added, transA=1)

    def _column(self, numbers: Any) -> str:
        """Weights that hold for whole lines."""
        return self.weight(numbers[:, None])

    def _tile(self, numbers: Any) -> str:
        """Weights that hold for the lines of every step of the window."""
        return self._column(np.tile(numbers, self.vae.window))

    def _transpose(self, name: str) -> str:
        return self.node("Transpose", name, perm=[1, 0])

    def _lines(self, name: str, first: int, last: int) -> str:
        bounds = (self.weight(np.array([value])) for value in (first, last, 0))
        return self.node("Slice", name, *bounds)

    def _reduce(self, kind: str, name: str, *, axes: list[int] | None) -> str:
        inputs = [name] if axes is None else [name, self.weight(np.array(axes))]
        return self.node(kind, *inputs, keepdims=0)

    def _clip(self, name: str, low: float, high: float, *, number: type) -> str:
        bounds = (self.weight(number(value)) for value in (low, high))
        return self.node("Clip", name, *bounds)

    def _plus(self, name: str, value: Any) -> str:
        return self.node("Add", name, self.weight(value))

    def _times(self, name: str, value: Any) -> str:
        return self.node("Mul", name, self.weight(value))

    def _to_float32(self, name: str) -> str:
        return self.node("Cast", name, to=TensorProto.FLOAT)

    def _to_float64(self, name: str) -> str:
        return self.node("Cast", name, to=TensorProto.DOUBLE)

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = self._name()
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def weight(self, value: Any) -> str:
        name = self._name()
        self.weights[name] = np.asarray(value)
        return name

    def _name(self) -> str:
        self.num_names += 1
        return f"t{self.num_names}"


def _numbers(variable: Any) -> Any:
    return ops.convert_to_numpy(variable)
