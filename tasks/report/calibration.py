"""Planted truth, measured many times over (task-grams §16): filled in below once the table's shape is known."""

from __future__ import annotations

from tasks.report.facts import Facts
from tasks.report.html import missing


def calibration_html(facts: Facts) -> str:
    """Coverage, rejections and detections, or that none were asked for."""
    return "<h3>Calibration</h3>" + missing("no calibration was asked for")
