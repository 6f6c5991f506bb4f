"""Results as SVG pictures that stand alone: bars of comparisons, lines of growth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from nlpkit.bench.results import Check, Results
from nlpkit.bench.tables import short
from nlpkit.report.markup import Markup, tag

WIDTH = 720
#: Of a bar: its height and that of its line, the room for names on its left, for numbers right.
BAR, LINE, NAMES, NUMBERS = 14, 34, 270, 80
#: Of a plot of lines: height, and the room on each side of it.
HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 340, 64, 190, 20, 44
COLOURS = ("#1b6ca8", "#d1495b", "#6a994e", "#8e7dbe", "#bc6c25", "#457b9d", "#7f5539", "#555555")
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#333}.quiet{fill:#777}.grid{stroke:#ddd}"
    ".mark{stroke:#333;stroke-dasharray:3 2}@media(prefers-color-scheme:dark)"
    "{text{fill:#ddd}.quiet{fill:#aaa}.grid{stroke:#444}.mark{stroke:#ddd}}"
)


def pictures(results: Results) -> Iterator[tuple[str, str]]:
    """(name, SVG): ``times`` for the comparisons, ``growth-...`` for each plot of growth."""
    checks = [check for row in results.rows for check in row.checks if check.against]
    if checks:
        yield "times", bars(checks)
    for row in results.rows:
        for plot, lines in row.curves.items():
            drawn = {name: line for name, line in lines.items() if line}
            if drawn:
                yield f"growth-{plot.split()[0]}", growth(plot, drawn)


def bars(checks: Sequence[Check]) -> str:
    """How many times better nlpkit is than each peer; 1 is marked, as is what is asked."""
    most = max(max(c.value.high, c.floor or 0, 1.2) for c in checks)
    room = WIDTH - NAMES - NUMBERS

    def x(value: float) -> float:
        return _r(NAMES + room * value / most)

    parts = []
    for place, check in enumerate(checks):
        top = 24 + place * LINE
        middle = top + BAR / 2
        end = x(max(check.value.high, check.floor or 0))
        said = f"{check.what}, against {check.against}: {short(check.value.median)} {check.unit}"
        parts += [
            _text(NAMES - 8, middle, _shortened(check.what)),
            _text(NAMES - 8, middle + 13, check.against, class_="quiet"),
            tag(
                "rect",
                tag("title", said),
                x=NAMES,
                y=top,
                width=_r(x(check.value.median) - NAMES),
                height=BAR,
                fill=COLOURS[0],
            ),
            _line(x(check.value.low), middle, x(check.value.high), middle, stroke=COLOURS[-1]),
            _text(end + 6, middle + 4, f"{short(check.value.median)} times", "start"),
        ]
        if check.floor:
            parts.append(
                _line(x(check.floor), top - 4, x(check.floor), top + BAR + 4, class_="mark")
            )
    bottom = 24 + len(checks) * LINE
    parts.append(_line(x(1), 14, x(1), bottom, class_="grid"))
    parts.append(_text(x(1), 12, "as good as the peer", "middle", class_="quiet"))
    parts.append(
        _text(
            WIDTH - 4,
            bottom + 12,
            "dashed: what is asked; lines: from least to most",
            class_="quiet",
        )
    )
    return _picture("How many times better nlpkit is", parts, bottom + 20)


def growth(name: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Seconds over size, both on a logarithmic scale: straight lines of slope 1 grow evenly."""
    xs = [x for line in lines.values() for x, _ in line]
    ys = [max(y, 1e-6) for line in lines.values() for _, y in line]
    x_low, x_high = _decades(xs)
    y_low, y_high = _decades(ys)

    def x_of(value: float) -> float:
        share = (math.log10(value) - x_low) / (x_high - x_low)
        return _r(LEFT + share * (WIDTH - LEFT - RIGHT))

    def y_of(value: float) -> float:
        share = (math.log10(max(value, 1e-6)) - y_low) / (y_high - y_low)
        return _r(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM))

    parts = []
    for power in range(x_low, x_high + 1):
        x = x_of(10.0**power)
        parts.append(_line(x, TOP, x, HEIGHT - BOTTOM, class_="grid"))
        parts.append(_text(x, HEIGHT - BOTTOM + 16, f"{10**power:,}", "middle"))
    for power in range(y_low, y_high + 1):
        y = y_of(10.0**power)
        parts.append(_line(LEFT, y, WIDTH - RIGHT, y, class_="grid"))
        parts.append(_text(LEFT - 6, y + 4, f"{10.0**power:g} s"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, name, "middle"))
    for place, (side, line) in enumerate(lines.items()):
        colour = COLOURS[place % len(COLOURS)]
        points = " ".join(f"{x_of(x)},{y_of(y)}" for x, y in line)
        parts.append(tag("polyline", points=points, fill="none", stroke=colour, stroke_width=2))
        parts += [
            tag(
                "circle",
                tag("title", f"{side}, {x:,.0f} {name}: {short(y)} s"),
                cx=x_of(x),
                cy=y_of(y),
                r=3,
                fill=colour,
            )
            for x, y in line
        ]
        key = TOP + 8 + 18 * place
        parts.append(_line(WIDTH - RIGHT + 12, key, WIDTH - RIGHT + 30, key, stroke=colour))
        parts.append(_text(WIDTH - RIGHT + 36, key + 4, side, "start"))
    return _picture(f"Seconds by {name}", parts, HEIGHT)


def _shortened(text: str, most: int = 40) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """Powers of ten around some values, at least one apart."""
    low = math.floor(math.log10(min(values)))
    return low, max(low + 1, math.ceil(math.log10(max(values))))


def _picture(title: str, parts: Sequence[Markup], height: float) -> str:
    picture = tag(
        "svg",
        tag("title", title),
        tag("style", Markup(STYLE)),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        role="img",
        viewBox=f"0 0 {WIDTH} {_r(height)}",
    )
    return f"{picture}\n"


def _line(x1: float, y1: float, x2: float, y2: float, **looks: str) -> Markup:
    return tag("line", x1=_r(x1), y1=_r(y1), x2=_r(x2), y2=_r(y2), **looks)


def _text(x: float, y: float, text: str, anchor: str = "end", **looks: str) -> Markup:
    return tag("text", text, x=_r(x), y=_r(y), text_anchor=anchor, **looks)


def _r(value: float) -> float:
    return round(value, 1)
