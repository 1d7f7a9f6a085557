# SPDX-License-Identifier: Apache-2.0
"""Charts as SVG, by hand: bars and lines in panels below each other, with axes, units and legends. No library is needed, nor
anything from outside the file; a viewer that prefers dark colours gets them.

A panel is what Bars() or Lines() make; document() puts panels under a title that says what was measured, and where.
What is None is not drawn, nor what is not above zero on a logarithmic axis (a bar of it is its number alone).
"""
import math
from xml.sax.saxutils import escape

WIDTH, MARGIN, SIZE = 800, 16, 12
LIGHT = ("#0072b2", "#d55e00", "#009e73", "#b0579a", "#b58900", "#7f7f7f", "#4b4bc3", "#5a3e1b")
DARK = ("#56b4e9", "#ff9e4a", "#3ddbb0", "#e39ac9", "#f0cf5a", "#b0b0b0", "#a0a0ff", "#c9a77c")
INK = {"back": ("#ffffff", "#16181d"), "ink": ("#222222", "#e6e6e6"), "soft": ("#666666", "#a8a8a8"), "grid": ("#dddddd", "#3a3d44")}


def style():
    def rules(which):
        back, ink, soft, grid = (INK[name][which] for name in ("back", "ink", "soft", "grid"))
        series = "".join(f".f{i}{{fill:{c}}}.s{i}{{stroke:{c};fill:none}}" for i, c in enumerate((LIGHT, DARK)[which]))
        return (f".back{{fill:{back}}}text{{fill:{ink}}}.soft{{fill:{soft}}}.grid{{stroke:{grid}}}.axis{{stroke:{soft}}}"
                f".mark{{stroke:{ink};stroke-dasharray:5 3}}.value{{stroke:{back};stroke-width:3px;paint-order:stroke}}{series}")
    return f"<style>{rules(0)}.s{{stroke-width:2}}.dash{{stroke-dasharray:2 3}}@media (prefers-color-scheme: dark){{{rules(1)}}}</style>"


def width_of(text, size=SIZE):
    """About, in pixels, and rather too much: no font is asked."""
    return sum(0.38 if c in "iljt.,:;'|!()[] " else 0.95 if c in "mwMW%" else 0.65 for c in text) * size


def cut(text, room, size=SIZE):
    """The text, or as much of it as there is room for."""
    if width_of(text, size) <= room:
        return text
    while text and width_of(text + "…", size) > room:
        text = text[:-1]
    return text.rstrip() + "…"


def wrapped(text, room, size=SIZE):
    lines = [""]
    for word in text.split():
        if lines[-1] and width_of(f"{lines[-1]} {word}", size) > room:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def number(value):
    """Short enough for a label, with three digits that count."""
    if value == 0:
        return "0"
    if abs(value) >= 1e6:
        return f"{value:.3g}".replace("e+0", "e").replace("e+", "e")
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.1e}"


def word(x, y, text, anchor="start", size=SIZE, kind="", bold=False):
    more = (f' class="{kind}"' if kind else "") + (' font-weight="bold"' if bold else "")
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"{more}>{escape(text)}</text>'


class Scale:
    """From values to pixels. Logarithmic scales end at whole decades, others at round numbers and not above zero. tight: they
    end where the values do."""

    def __init__(self, values, low, high, log=False, tight=False):
        values = [v for v in values if v is not None and math.isfinite(v) and (v > 0 or not log)] or [1]
        self.low, self.high, self.log = low, high, log
        least, most = min(values), max(values)
        if log:
            self.first = 10.0 ** math.floor(math.log10(least) + 1e-9)
            self.last = 10.0 ** math.ceil(math.log10(most) - 1e-9)
            if self.last <= self.first:
                self.last = self.first * 10
            decades = round(math.log10(self.last / self.first))
            every = -(-decades // 8)
            self.ticks = [self.first * 10.0 ** i for i in range(0, decades + 1, every)]
            if decades == 1:
                self.ticks = [self.first * m for m in (1, 2, 5, 10)]
            return
        least, most = (least if tight else min(least, 0)), (most if tight else max(most, 0))
        span = (most - least) or abs(most) or 1
        step = 10.0 ** math.floor(math.log10(span / 4))
        step *= next(m for m in (1, 2, 5, 10) if span / (step * m) <= 6)
        down, up = math.floor(least / step + 1e-9), math.ceil(most / step - 1e-9)
        self.ticks = [i * step for i in range(down, max(up, down + 1) + 1)]
        self.first, self.last = self.ticks[0], self.ticks[-1]
        if tight and most > least:
            self.first, self.last = least, most
            self.ticks = [t for t in self.ticks if least - 1e-9 * step <= t <= most + 1e-9 * step]

    def __call__(self, value):
        if self.log:
            value = max(value, self.first)
            part = math.log(value / self.first) / math.log(self.last / self.first)
        else:
            part = (value - self.first) / (self.last - self.first)
        return self.low + part * (self.high - self.low)


def drawable(value, log=False):
    return value is not None and math.isfinite(value) and (value > 0 or not log)


def legend(names, y):
    """(parts, height): the names in rows, each with its colour."""
    if len(names) < 2:
        return [], 0
    parts, x, row = [], MARGIN, 0
    for i, name in enumerate(names):
        name = cut(name, WIDTH - 2 * MARGIN - 40)
        wide = 16 + width_of(name) + 18
        if x > MARGIN and x + wide > WIDTH - MARGIN:
            x, row = MARGIN, row + 1
        parts.append(f'<rect class="f{i % len(LIGHT)}" x="{x:.1f}" y="{y + row * 18 + 2}" width="11" height="11" rx="2"/>')
        parts.append(word(x + 16, y + row * 18 + 12, name))
        x += wide
    return parts, (row + 1) * 18 + 4


class Bars:
    """Lying bars: rows [(label, [a value for each name])]. unit: of the values, said below the axis. mark: (value, what it is),
    a line across all of them."""

    def __init__(self, title, unit, names, rows, log=False, mark=None):
        self.title, self.unit, self.names, self.rows, self.log, self.mark = title, unit, names, rows, log, mark

    def draw(self, y):
        """(parts, height) from y down."""
        parts = [word(MARGIN, y + 14, cut(self.title, WIDTH - 2 * MARGIN, 13), size=13, bold=True)]
        shown, tall = legend(self.names, y + 22)
        parts += shown
        top, thick = y + 26 + tall, 13 if len(self.names) > 1 else 16
        if not self.rows:
            return parts + [word(MARGIN, top + 12, "nothing was measured", kind="soft")], top + 24 - y
        left = MARGIN + min(350, max(width_of(label) for label, _ in self.rows)) + 8
        values = [v for _, row in self.rows for v in row] + ([self.mark[0]] if self.mark else [])
        scale = Scale(values, left, WIDTH - MARGIN - 62, self.log)
        each = thick * len(self.names) + 9
        bottom = top + each * len(self.rows) + (16 if self.mark else 2)
        for tick in scale.ticks:
            parts.append(f'<line class="grid" x1="{scale(tick):.1f}" x2="{scale(tick):.1f}" y1="{top}" y2="{bottom}"/>')
            parts.append(word(scale(tick), bottom + 14, number(tick), "middle", 11, "soft"))
        zero = scale(0) if not self.log else left
        for i, (label, row) in enumerate(self.rows):
            at = top + i * each + 4
            parts.append(word(left - 8, at + thick * len(self.names) / 2 + 4, cut(label, left - MARGIN - 8), "end"))
            for j, value in enumerate(row):
                parts += self.bar(value, scale, zero, at + j * thick, thick, j)
        parts.append(f'<line class="axis" x1="{zero:.1f}" x2="{zero:.1f}" y1="{top}" y2="{bottom}"/>')
        if self.mark:
            x = scale(self.mark[0])
            parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>')
            right = x + 5 + width_of(self.mark[1], 11) < WIDTH - MARGIN
            parts.append(word(x + (5 if right else -5), bottom - 4, self.mark[1], "start" if right else "end", 11, "soft"))
        said = self.unit + (" (logarithmic)" if self.log else "")
        parts.append(word((left + WIDTH - MARGIN - 62) / 2, bottom + 30, said, "middle", 11, "soft"))
        return parts, bottom + 36 - y

    def bar(self, value, scale, zero, y, thick, which):
        if value is None or not math.isfinite(value):
            return [word(zero + 4, y + thick - 3, "not measured", size=11, kind="soft")]
        end = scale(value) if drawable(value, self.log) else zero
        low, high = min(zero, end), max(zero, end)
        return [f'<rect class="f{which % len(LIGHT)}" x="{low:.1f}" y="{y}" width="{high - low:.1f}" height="{thick - 2}"/>',
                word(high + 4, y + thick - 4, number(value), size=11, kind="value")]


class Lines:
    """Lines: series [(name, [(x, y)])]. x_title, y_title: what the axes are, with units. mark: (y, what it is), a line across.
    steps: a value holds until the next one. dashed: names of lines that others may lie under."""

    def __init__(self, title, x_title, y_title, series, log_x=False, log_y=False, mark=None, steps=False, dashed=(),
                 height=230):
        self.title, self.x_title, self.y_title, self.series = title, x_title, y_title, series
        self.log_x, self.log_y, self.mark, self.steps, self.dashed, self.height = log_x, log_y, mark, steps, dashed, height

    def points(self, line):
        return [(x, y) for x, y in line if drawable(x, self.log_x) and drawable(y, self.log_y)]

    def draw(self, y):
        """(parts, height) from y down."""
        parts = [word(MARGIN, y + 14, cut(self.title, WIDTH - 2 * MARGIN, 13), size=13, bold=True)]
        shown, tall = legend([name for name, _ in self.series], y + 22)
        parts += shown
        top = y + 24 + tall
        lines = [(name, self.points(line)) for name, line in self.series]
        every = [p for _, line in lines for p in line]
        if not every:
            return parts + [word(MARGIN, top + 12, "nothing was measured", kind="soft")], top + 24 - y
        parts.append(word(MARGIN, top + 11, self.y_title + (" (logarithmic)" if self.log_y else ""), size=11, kind="soft"))
        top, bottom = top + 22, top + 22 + self.height
        up = Scale([v for _, v in every] + ([self.mark[0]] if self.mark else []), bottom, top, self.log_y)
        left = MARGIN + max(width_of(number(t), 11) for t in up.ticks) + 10
        along = Scale([v for v, _ in every], left, WIDTH - MARGIN - 20, self.log_x, tight=True)
        for tick in up.ticks:
            parts.append(f'<line class="grid" x1="{left:.1f}" x2="{WIDTH - MARGIN - 20}" y1="{up(tick):.1f}" y2="{up(tick):.1f}"/>')
            parts.append(word(left - 6, up(tick) + 4, number(tick), "end", 11, "soft"))
        for tick in along.ticks:
            parts.append(f'<line class="axis" x1="{along(tick):.1f}" x2="{along(tick):.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
            parts.append(word(along(tick), bottom + 17, number(tick), "middle", 11, "soft"))
        parts.append(f'<path class="axis" fill="none" d="M{left:.1f} {top}V{bottom}H{WIDTH - MARGIN - 20}"/>')
        said = self.x_title + (" (logarithmic)" if self.log_x else "")
        parts.append(word((left + WIDTH - MARGIN - 20) / 2, bottom + 33, said, "middle", 11, "soft"))
        if self.mark:
            parts.append(f'<line class="mark" x1="{left:.1f}" x2="{WIDTH - MARGIN - 20}" y1="{up(self.mark[0]):.1f}" y2="{up(self.mark[0]):.1f}"/>')
            parts.append(word(WIDTH - MARGIN - 24, up(self.mark[0]) - 5, self.mark[1], "end", 11, "soft"))
        for last in (False, True):
            for i, (name, line) in enumerate(lines):
                if (name in self.dashed) == last:
                    parts += self.line(line, along, up, i % len(LIGHT), " dash" if last else "")
        return parts, bottom + 40 - y

    def line(self, line, along, up, which, kind):
        at, previous = [], None
        for x, y in line:
            if self.steps and previous is not None:
                at.append(f"{along(x):.1f},{previous:.1f}")
            previous = up(y)
            at.append(f"{along(x):.1f},{previous:.1f}")
        parts = [f'<polyline class="s s{which}{kind}" points="{" ".join(at)}"/>'] if len(line) > 1 else []
        if len(line) <= 24:
            parts += [f'<circle class="f{which}" cx="{along(x):.1f}" cy="{up(y):.1f}" r="3"/>' for x, y in line]
        return parts


def document(title, where, panels):
    """The file: title says what is measured, where says on what."""
    parts, y = [], 10
    for line in wrapped(title, WIDTH - 2 * MARGIN, 17.5):
        y += 20
        parts.append(word(MARGIN, y, line, size=16, bold=True))
    for line in wrapped(where, WIDTH - 2 * MARGIN):
        y += 17
        parts.append(word(MARGIN, y, line, kind="soft"))
    y += 14
    for panel in panels:
        drawn, tall = panel.draw(round(y))
        parts += drawn
        y = round(y) + tall + 14
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y:.0f}" viewBox="0 0 {WIDTH} {y:.0f}" '
            f'font-family="system-ui, -apple-system, \'Segoe UI\', \'DejaVu Sans\', sans-serif">')
    return "\n".join([head, f"<title>{escape(title)}</title>", style(), f'<rect class="back" width="{WIDTH}" height="{y:.0f}"/>',
                      *parts, "</svg>"]) + "\n"
