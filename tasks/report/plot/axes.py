"""The axes of a panel: what runs to the right, how it is scaled, and few ticks that a person reads. Knows nothing of marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tasks.report.numbers import short
from tasks.report.plot.palette import SOFT


@dataclass(frozen=True)
class Abscissa:
    """What runs to the right: its name, its scale (linear, log or symlog) and, where they are few, the places to name."""

    label: str
    scale: str = "linear"
    ticks: Sequence[tuple[float, str]] = ()
    whole: bool = False


def scale_x(axes: Any, x: Abscissa, values: Sequence[float]) -> None:
    """Few ticks, written so that a person reads them."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

    if x.scale == "log":
        axes.set_xscale("log")
    elif x.scale == "symlog":
        axes.set_xscale("symlog", base=2, linthresh=1)
        axes.set_xlim(-0.4, max(*values, 1.0, 1.0) * 1.5)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: short(v)))
    if x.ticks:
        axes.xaxis.set_major_locator(FixedLocator([at for at, _ in x.ticks]))
        axes.set_xticklabels([said for _, said in x.ticks])
        axes.margins(x=0.1)
    elif x.scale == "symlog":
        top = max(1, int(max(values, default=1)).bit_length())
        axes.xaxis.set_major_locator(FixedLocator([0, *(2**k for k in range(0, top + 1, max(1, -(-top // 5))))]))
    elif x.scale == "linear":
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=x.whole))
    axes.set_xlabel(x.label, labelpad=2)


def scale_y(axes: Any, label: str, log_y: bool = False) -> None:
    """The name of the ordinate stands above it, lying, where it can be read."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

    axes.yaxis.set_minor_locator(NullLocator())
    if log_y:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: short(v)))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5))
    m = axes.get_position()
    left = m.x0 * axes.figure.get_figwidth() - 0.08  # the panel's left side, whatever the drawing's width
    axes.annotate(
        label,
        (0, 1),
        xytext=(-min(left, 0.36) * 72, 7),
        xycoords="axes fraction",
        textcoords="offset points",
        size=7.5,
        color=SOFT,
        annotation_clip=False,
    )
