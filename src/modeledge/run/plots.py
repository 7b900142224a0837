"""The pictures of a report as SVG text. Needs matplotlib; without it `drawable` is False and reports show tables."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import accumulate
from typing import Any, NamedTuple

POINTS = 600
INK, ACCENT, SECOND, FAINT = "#24292f", "#1f5fa8", "#c2571a", "#8c959f"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "modeledge",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#eaeef2",
    "xtick.color": INK,
    "ytick.color": INK,
    "text.parse_math": False,
}


class Series(NamedTuple):
    """Values over steps."""

    steps: Sequence[float]
    values: Sequence[float]


def drawable() -> bool:
    """Whether matplotlib is there."""
    return find_spec("matplotlib") is not None


def draw_loss(name: str, train: Series, held: Series, baselines: dict[str, float]) -> str:
    """A loss over steps, held-out points, and the baselines as dashed lines."""

    def paint(axes: Any) -> None:
        shown = thin(train)
        axes.plot(shown.steps, shown.values, color=ACCENT, alpha=0.25, linewidth=1)
        axes.plot(shown.steps, smooth(shown.values), color=ACCENT, linewidth=1.8, label="training")
        if held.steps:
            axes.plot(held.steps, held.values, "o-", color=SECOND, markersize=4, linewidth=1.2, label="held out")
        for value, label in _labels(baselines, within=0.04 * _reach(axes, baselines)):
            axes.annotate(
                label, (1, value), xycoords=("axes fraction", "data"), xytext=(0, 3),
                textcoords="offset points", ha="right", va="bottom", color=FAINT, fontsize=9,
            )  # fmt: skip
            axes.axhline(value, color=FAINT, linestyle=(0, (4, 3)), linewidth=1)
        axes.set_ylabel("nats per target")
        axes.set_xlabel("step")
        axes.set_title(name, loc="left", fontsize=11)
        axes.legend(frameon=False, fontsize=9, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0, ncols=2)

    return _svg(paint, f"{name}: training and held-out loss over steps", size=(5.6, 3.3))


def draw_throughput(rate: Series) -> str:
    """Tokens a second over steps, from zero."""

    def paint(axes: Any) -> None:
        shown = thin(rate)
        axes.plot(shown.steps, shown.values, color=ACCENT, linewidth=1.2)
        axes.set_ylim(0, 1.15 * max(shown.values, default=1.0))
        axes.set_xlabel("step")
        axes.set_ylabel("tokens/s")
        axes.set_title("throughput", loc="left", fontsize=11)

    return _svg(paint, "tokens per second over steps", size=(5.6, 3.3))


def draw_comparison(metric: str, rows: Sequence[dict[str, Any]], chance: float | None) -> str:
    """One row a contender: every seed as a dot, the mean with its interval."""

    def paint(axes: Any) -> None:
        for place, row in enumerate(reversed(rows)):
            color = ACCENT if place == len(rows) - 1 else SECOND
            axes.plot(row["scores"], [place] * len(row["scores"]), "o", color=color, alpha=0.3, markersize=5)
            axes.plot([row["low"], row["high"]], [place, place], color=color, linewidth=2)
            axes.plot([row["mean"]], [place], "D", color=color, markersize=6)
        if chance is not None:
            axes.axvline(chance, color=FAINT, linestyle=(0, (4, 3)), linewidth=1)
            axes.annotate("chance", (chance, 1), xycoords=("data", "axes fraction"), xytext=(3, -2),
                          textcoords="offset points", va="top", color=FAINT, fontsize=9)  # fmt: skip
        axes.set_yticks(range(len(rows)), [row["name"] for row in reversed(rows)])
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_xlabel(metric)
        axes.grid(visible=False, axis="y")

    return _svg(paint, f"{metric} of each contender with its interval", size=(10, 0.9 + 0.4 * len(rows)))


def thin(series: Series) -> Series:
    """At most so many points that a page stays small; the last is kept."""
    stride = -(-len(series.steps) // POINTS) or 1
    keep = list(range(0, len(series.steps), stride))
    if keep and keep[-1] != len(series.steps) - 1:
        keep.append(len(series.steps) - 1)
    return Series([series.steps[i] for i in keep], [series.values[i] for i in keep])


def smooth(values: Sequence[float]) -> list[float]:
    """Mean over a centred window of about a thirtieth of the curve, smaller towards its ends."""
    sums = [0.0, *accumulate(values)]
    half, n = len(values) // 60, len(values)
    reach = [min(half, i, n - 1 - i) for i in range(n)]
    return [(sums[i + r + 1] - sums[i - r]) / (2 * r + 1) for i, r in enumerate(reach)]


def _reach(axes: Any, baselines: dict[str, float]) -> float:
    """How far the y axis will reach once the baselines are in it."""
    ends = [*axes.get_ylim(), *baselines.values()]
    return max(ends) - min(ends)


def _labels(baselines: dict[str, float], *, within: float) -> list[tuple[float, str]]:
    """(height, text) of each baseline; those too close to tell apart share one."""
    out: list[tuple[float, str]] = []
    for word, value in sorted(baselines.items(), key=lambda item: item[1]):
        text = f"{word} {value:.2f}"
        if out and value - out[-1][0] < within:
            text = f"{out.pop()[1]}, {text}"
        out.append((value, text))
    return out


def _svg(paint: Any, says: str, *, size: tuple[float, float]) -> str:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        paint(figure.subplots())
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text).replace("'DejaVu Sans', ", "system-ui, ")
    text = re.sub(r'width="[^"]*pt"|height="[^"]*pt"', "", text, count=2)
    return text.replace("<svg", f'<svg role="img" aria-label="{_plain(says)}"', 1)


def _plain(text: str) -> str:
    return re.sub(r"[^\w .,:()-]", " ", text)
