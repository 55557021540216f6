"""Terms of an ONNX graph that add, multiply and compare like arrays.

With them a formula written for NumPy and `keras.ops` writes itself into a graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Operand = Any
"""A term or a number; a number becomes a float64 constant of the graph."""


class Graph(Protocol):
    """What a term needs of the graph it is part of."""

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node and return the name of its output."""

    def weight(self, value: Any) -> str:
        """Add a constant and return its name."""


@dataclass(frozen=True)
class Term:
    """A named float64 value of a graph.

    Attributes:
        name: Name of the value.
        graph: The graph.
    """

    name: str
    graph: Graph

    def __add__(self, other: Operand) -> Term:
        return self._with("Add", self, other)

    def __radd__(self, other: Operand) -> Term:
        return self._with("Add", other, self)

    def __sub__(self, other: Operand) -> Term:
        return self._with("Sub", self, other)

    def __rsub__(self, other: Operand) -> Term:
        return self._with("Sub", other, self)

    def __mul__(self, other: Operand) -> Term:
        return self._with("Mul", self, other)

    def __rmul__(self, other: Operand) -> Term:
        return self._with("Mul", other, self)

    def __truediv__(self, other: Operand) -> Term:
        return self._with("Div", self, other)

    def __rtruediv__(self, other: Operand) -> Term:
        return self._with("Div", other, self)

    def __lt__(self, other: Operand) -> Term:
        return self._with("Less", self, other)

    def __neg__(self) -> Term:
        return self._with("Neg", self)

    def __getitem__(self, key: tuple[Any, slice]) -> Term:
        """Take a slice of the last axis: `term[..., 2:5]`."""
        bounds = (self.graph.weight(np.array([one])) for one in (key[1].start, key[1].stop, -1))
        return Term(self.graph.node("Slice", self.name, *bounds), self.graph)

    def _with(self, kind: str, *operands: Operand) -> Term:
        return GraphOps(self.graph).apply(kind, *operands)


class GraphOps:
    """The names that NumPy and `keras.ops` share, for the terms of one graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def apply(self, kind: str, *operands: Operand) -> Term:
        """Add a node with terms or numbers as its inputs."""
        names = (
            one.name if isinstance(one, Term) else self._graph.weight(np.float64(one))
            for one in operands
        )
        return Term(self._graph.node(kind, *names), self._graph)

    def abs(self, term: Term) -> Term:
        """|x|."""
        return self.apply("Abs", term)

    def exp(self, term: Term) -> Term:
        """e^x."""
        return self.apply("Exp", term)

    def log(self, term: Term) -> Term:
        """Natural logarithm."""
        return self.apply("Log", term)

    def log1p(self, term: Term) -> Term:
        """log(1 + x), from the sum in float64."""
        return self.apply("Log", term + 1.0)

    def square(self, term: Term) -> Term:
        """x^2."""
        return self.apply("Mul", term, term)

    def maximum(self, one: Operand, other: Operand) -> Term:
        """The larger one."""
        return self.apply("Max", one, other)

    def minimum(self, one: Operand, other: Operand) -> Term:
        """The smaller one."""
        return self.apply("Min", one, other)

    def matmul(self, one: Term, other: Term) -> Term:
        """Matrix product."""
        return self.apply("MatMul", one, other)

    def where(self, condition: Term, one: Operand, other: Operand) -> Term:
        """One where the condition holds, the other elsewhere."""
        return self.apply("Where", condition, one, other)
