"""Counts and names as messages write them; it knows nothing of the rooms."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

FIGURES = {
    "gain_over_pca_nats": "gain over PCA, nats",
    "median_r_squared": "median R²",
    "pit_distance": "PIT distance",
}
"""Figures that are written for people otherwise than with spaces."""


def format_plural(count: float, noun: str, plural: str = "") -> str:
    """Write a count with its noun, in the plural where it is not one.

    Args:
        count: A count, or a number that need not be whole.
        noun: The noun in the singular.
        plural: The noun in the plural, where it takes more than an s.

    Returns:
        Text such as `2 alert events`.

    Example:
        >>> format_plural(1, "alert event"), format_plural(1200, "row"), format_plural(0.5, "day")
        ('1 alert event', '1,200 rows', '0.5 days')
    """
    return f"{count:,.12g} {noun if count == 1 else plural or noun + 's'}"


def name_figure(name: str) -> str:
    """Name a figure of a detector's health, or anything else with a short name, for people.

    Example:
        >>> name_figure("active_units"), name_figure("gain_over_pca_nats")
        ('active units', 'gain over PCA, nats')
    """
    return FIGURES.get(name, name.replace("_", " "))


def find_nearest(name: str, known: Iterable[str]) -> str:
    """Find the name that a misspelt one may stand for, "" where none is near.

    Example:
        >>> find_nearest("flwo", ["level", "flow"]), find_nearest("FLOW", ["level", "flow"])
        ('flow', 'flow')
    """
    folded = {one.casefold(): one for one in known}
    near = difflib.get_close_matches(name.casefold(), list(folded), n=1)
    return folded[near[0]] if near else ""


def ask_nearest(name: str, known: Iterable[str]) -> str:
    """Ask, at the end of a message, whether the nearest name was meant; "" where none is near.

    Example:
        >>> ask_nearest("flwo", ["level", "flow"])
        "; did you mean 'flow'?"
    """
    near = find_nearest(name, known)
    return f"; did you mean '{near}'?" if near else ""
