"""The axes of a panel: what the x axis shows, how it is scaled, and few ticks that are easy to read. Knows nothing of panels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tasks.report.formatting import short
from tasks.report.plot.palette import SOFT


@dataclass(frozen=True)
class XAxis:
    """Label, scale (linear, log or symlog) and, where they are few, the positions to label."""

    label: str
    scale: str = "linear"
    ticks: Sequence[tuple[float, str]] = ()
    whole: bool = False  # ticks at whole numbers only


def scale_x(axes: Any, x: XAxis, values: Sequence[float]) -> None:
    """Set scale, ticks and label of the x axis for these values."""
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

    if x.scale == "log":
        axes.set_xscale("log")
    elif x.scale == "symlog":
        axes.set_xscale("symlog", base=2, linthresh=1)
        axes.set_xlim(-0.4, max(*values, 1.0, 1.0) * 1.5)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: short(value))
    if x.ticks:
        axes.set_xticks([at for at, _ in x.ticks], [name for _, name in x.ticks])
        axes.margins(x=0.1)
    elif x.scale == "symlog":
        doublings = max(1, int(max(values, default=1)).bit_length())
        powers = range(0, doublings + 1, max(1, -(-doublings // 5)))
        axes.xaxis.set_major_locator(FixedLocator([0, *(2**k for k in powers)]))
    elif x.scale == "linear":
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=x.whole))
    axes.set_xlabel(x.label)


def scale_y(axes: Any, label: str, log_y: bool = False) -> None:
    """Set ticks of the y axis, and write its label horizontally above it, where it is easy to read."""
    from matplotlib.ticker import MaxNLocator, NullLocator

    axes.yaxis.set_minor_locator(NullLocator())
    if log_y:
        axes.yaxis.set_major_formatter(lambda value, _: short(value))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5))
    left = axes.get_position().x0 * axes.figure.get_figwidth() - 0.08  # the panel's left edge, whatever the drawing's width
    place = {"xycoords": "axes fraction", "textcoords": "offset points", "annotation_clip": False}
    axes.annotate(label, (0, 1), (-min(left, 0.36) * 72, 7), size=7.5, color=SOFT, **place)
