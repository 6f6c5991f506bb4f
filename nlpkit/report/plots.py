"""The few plots of the page, as inline SVG: their colours are those of the page's style."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nlpkit.report.markup import Markup, tag

WIDTH, HEIGHT = 340, 260
LEFT, RIGHT, TOP, BOTTOM = 50, 12, 12, 36


def bar(share: float) -> Markup:
    """A share of 1 as a bar, for a cell of a table."""
    width = 100 * min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0
    return tag(
        "svg",
        tag("rect", class_="track", width=100, height=8, rx=1),
        tag("rect", class_="fill", width=_r(width), height=8, rx=1),
        class_="bar",
        viewBox="0 0 100 8",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def whisker(value: float, interval: Sequence[float] | None) -> Markup:
    """A score between 0 and 1 as a dot, its interval as a line; nothing for another."""

    def x(one: float) -> float:
        return _r(4 + 152 * min(max(one, 0.0), 1.0))

    if not 0 <= value <= 1:
        return Markup("")
    parts = [tag("line", class_="axis", x1=4, x2=156, y1=7, y2=7)]
    parts += [tag("line", class_="axis", x1=x(t), x2=x(t), y1=4, y2=10) for t in (0, 0.5, 1)]
    if interval is not None and all(map(math.isfinite, interval)):
        low, high = interval
        parts.append(tag("line", class_="range", x1=x(low), x2=x(high), y1=7, y2=7))
    parts.append(tag("circle", class_="dot", cx=x(value), cy=7, r=3))
    return tag("svg", *parts, class_="whisker", viewBox="0 0 160 14", aria_hidden="true")


def reliability(bins: Sequence[Mapping[str, Any]]) -> Markup:
    """Accuracy of the examples of like confidence; on the diagonal the two are equal."""
    axes = Axes(0, 1, 0, 1)
    total = sum(one["n"] for one in bins) or 1
    parts = axes.frame("score", "share that is right", (0, 0.25, 0.5, 0.75, 1))
    for one in bins:
        x, y = axes.x(one["low"]) + 0.75, axes.y(one["accuracy"])
        said = (
            f"scores {one['low']:.2f} to {one['high']:.2f}: {one['n']:,} examples, mean score "
            f"{one['confidence']:.3f}, {one['accuracy']:.3f} right"
        )
        # The darker, the more examples: a bin of three says little.
        shade = 0.25 + 0.75 * math.sqrt(one["n"] / total)
        parts.append(
            tag(
                "rect",
                tag("title", said),
                class_="fill",
                x=_r(x),
                y=_r(y),
                width=_r(axes.x(one["high"]) - axes.x(one["low"]) - 1.5),
                height=_r(axes.y(0) - y),
                opacity=_r(shade),
            )
        )
    parts.append(axes.line([(0, 0), (1, 1)], "diagonal"))
    return _chart(parts, "Reliability: the share that is right for each range of scores")


def curve(lead: Sequence[float], f1: Sequence[float], answered: Sequence[float]) -> Markup:
    """F1 and the share answered over thresholds; the default's threshold stands at 0."""
    low, high = min(lead), max(lead)
    low, high = (low, high) if high > low else (low - 1, high + 1)
    axes = Axes(low, high, 0, 1)
    ticks = _ticks(low, high)
    parts = axes.frame('lead of "no answer" up to which to answer', "share", ticks)
    if low <= 0 <= high:
        parts.append(axes.line([(0, 0), (0, 1)], "diagonal"))
        parts.append(_label(axes.x(0) + 4, axes.y(1) + 10, "default", "start"))
    for name, values, kind in (("F1", f1, "first"), ("answered", answered, "second")):
        parts.append(axes.line(list(zip(lead, values, strict=True)), kind))
        parts.append(
            _label(axes.x(high) - 2, axes.y(values[-1]) + (12 if values[-1] > 0.9 else -5), name)
        )
    return _chart(parts, "F1 and the share of questions answered, over thresholds")


@dataclass(frozen=True, slots=True)
class Axes:
    """Maps values to places in the drawing."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        share = (value - self.x_low) / (self.x_high - self.x_low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.y_low) / (self.y_high - self.y_low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def line(self, points: Sequence[tuple[float, float]], class_: str) -> Markup:
        places = " ".join(f"{_r(self.x(x))},{_r(self.y(y))}" for x, y in points)
        return tag("polyline", class_=class_, points=places)

    def frame(self, x_name: str, y_name: str, x_ticks: Sequence[float]) -> list[Markup]:
        parts = []
        for tick in (0, 0.25, 0.5, 0.75, 1):
            parts.append(self.line([(self.x_low, tick), (self.x_high, tick)], "grid"))
            parts.append(_label(LEFT - 5, self.y(tick) + 4, f"{tick:g}"))
        for tick in x_ticks:
            parts.append(_label(self.x(tick), HEIGHT - BOTTOM + 14, f"{tick:g}", "middle"))
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(_label(middle, HEIGHT - 5, x_name, "middle"))
        place = f"rotate(-90) translate({-(TOP + HEIGHT - BOTTOM) / 2} 10)"
        parts.append(tag("text", y_name, text_anchor="middle", transform=place))
        return parts


def _chart(parts: Sequence[Markup], title: str) -> Markup:
    return tag(
        "svg",
        tag("title", title),
        *parts,
        class_="chart",
        role="img",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
    )


def _label(x: float, y: float, text: str, anchor: str = "end") -> Markup:
    return tag("text", text, x=_r(x), y=_r(y), text_anchor=anchor)


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers in a range."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(n * power for n in (1, 2, 5, 10) if n * power >= rough)
    return [round(i * step, 10) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _r(value: float) -> float:
    """Short numbers make a short page."""
    return round(value, 2)
