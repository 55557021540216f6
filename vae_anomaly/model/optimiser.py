"""AdamW that drops non-finite gradients, counts them, and averages the weights as it goes."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

AVERAGE_MOMENTUM = 0.99


class AveragingAdamW(keras.optimizers.AdamW):
    """AdamW with an exponential moving average of the weights.

    A step whose gradient is not finite contributes no gradient and is counted in `skipped`.
    Build it before `fit`: the first step already needs the averages.
    Keras's own `use_ema` cannot be used: on JAX its averages are gone when `fit` ends.
    """

    def build(self, variables: Any) -> None:
        """Create the averages, starting at the initial weights."""
        if self.built:
            return
        super().build(variables)
        self.skipped = self.add_variable(
            shape=(), initializer="zeros", dtype="int32", name="skipped"
        )
        self.averages = [
            self.add_variable_from_reference(variable, name="average") for variable in variables
        ]
        self._start_averages(variables)

    def restart(self, variables: Any) -> None:
        """Forget every step taken; the averages start at the present weights."""
        for variable in self.variables:
            variable.assign(ops.zeros_like(variable.value))
        self._start_averages(variables)

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Update weights and averages from one batch's gradients."""
        variables = (
            self._trainable_variables if trainable_variables is None else trainable_variables
        )
        # states and counts alone have no use for the sigma head, and TensorFlow then says None
        grads = [
            ops.zeros_like(variable.value) if grad is None else grad
            for grad, variable in zip(grads, variables, strict=True)
        ]
        finite = ops.all(ops.stack([ops.all(ops.isfinite(grad)) for grad in grads]))
        self.skipped.assign_add(1 - ops.cast(finite, "int32"))
        super().apply(
            [ops.where(finite, grad, ops.zeros_like(grad)) for grad in grads],
            trainable_variables,
        )
        for average, variable in zip(self.averages, self._trainable_variables, strict=True):
            average.assign(
                AVERAGE_MOMENTUM * average.value + (1.0 - AVERAGE_MOMENTUM) * variable.value
            )

    def _start_averages(self, variables: Any) -> None:
        for average, variable in zip(self.averages, variables, strict=True):
            average.assign(ops.copy(variable.value))  # JAX must not donate one buffer twice

    def use_averages(self, variables: Any) -> None:
        """Give the model its averaged weights; call once, after training."""
        for average, variable in zip(self.averages, variables, strict=True):
            variable.assign(ops.copy(average.value))
