"""The report's tables as CSV and as LaTeX with booktabs rules."""

from __future__ import annotations

from collections.abc import Container, Sequence

import pandas as pd

from antidote.engine.cell import GROUPS
from antidote.metrics.table import Metric, shown
from antidote.report.benchmark.summary import had, traced
from antidote.report.words import look, missing, rate, tracer, word

VALUES = ["setting", "method", "rate", "share", "discovered", "width", "seed"]
ORIGIN = ["command", "commit", "id", "run_id"]
SPECIAL = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "×": r"$\times$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "…": r"\dots{}",
}


def cells_csv(cells: pd.DataFrame) -> str:
    measured = [metric.name for metric in shown("cells", had(cells))]
    groups = [group for group in GROUPS if group != "tracing" or traced(cells)]
    texts = [name for name in ("chosen", "unmet") if name in cells and cells[name].any()]
    return csv(cells, ["config_hash", *groups, *VALUES, *texts, *measured, *ORIGIN])


def means_csv(means: pd.DataFrame) -> str:
    return csv(means if traced(means) else means.drop(columns="tracing"))


def csv(table: pd.DataFrame, columns: Sequence[str] | None = None) -> str:
    return table.to_csv(index=False, columns=columns)


def figure(row: pd.Series, metric: Metric) -> str:
    """Mean and half width, in percent (seconds as they are); a dash where not defined."""
    value, half = row[metric.name], row[f"{metric.name}_half"]
    if missing(value):
        return "--"
    times, digits = (100, 2) if metric.unit in ("share", "points") else (1, 1)
    plus = "" if missing(half) else f" $\\pm$ {times * half:.{digits}f}"
    if not missing(low := row.get(f"{metric.name}_low")):
        plus = f" ({times * low:.0f} to {times * row[f'{metric.name}_high']:.0f})"
    return f"{round(times * value, digits) + 0.0:.{digits}f}{plus}"


def figures(row: pd.Series) -> list[str]:
    return [figure(row, metric) for metric in shown("latex", row.index)]


def defence(row: pd.Series, told: bool) -> list[str]:
    """The method, and the tracer if it is `told`."""
    return [safe(look(row["method"])["label"]), *[safe(tracer(row["tracing"])["label"])] * told]


def methods_tex(methods: pd.DataFrame) -> str:
    told = traced(methods)
    lines = [
        [
            safe(", ".join(filter(None, (word(row["poison"]), row["setting"])))),
            *defence(row, told),
            *figures(row),
            str(row["cells"]),
        ]
        for _, row in methods.iterrows()
    ]
    about = (
        "Unweighted means over (data set, net, poison rate, discovery); each cell is a mean over "
        r"seeds. Shares in \%, losses in points; $\pm$ 95 \% over seeds (Student t; of two: range; "
        r"in brackets: Wilson's bounds)."
    )
    return latex(["poison", "method", *["tracing"] * told], lines, about, "cells", list(methods))


def summary_tex(summary: pd.DataFrame) -> str:
    told = traced(summary)
    lines = [
        [
            safe(
                ", ".join(
                    filter(None, (*map(word, row[["poison", "dataset", "model"]]), row["setting"]))
                )
            ),
            safe(rate(row["rate"])),
            safe(word(row["discovered"])),
            *defence(row, told),
            *figures(row),
            str(row["runs"]),
        ]
        for _, row in summary.iterrows()
    ]
    about = (
        r"Means over seeds, $\pm$ 95 \% (Student t; of two: range; in brackets: Wilson's bounds). "
        r"Shares in \%, losses in points."
    )
    texts = ["place", "poisoned", "discovered", "method", *["tracing"] * told]
    return latex(texts, lines, about, "n", list(summary))


def latex(
    texts: Sequence[str],
    lines: Sequence[Sequence[str]],
    about: str,
    count: str,
    measured: Container[str],
) -> str:
    """A longtable, which may break over pages: texts flush left, figures, then a count."""
    metrics = shown("latex", measured)
    measures = [safe(f"{metric.label} {metric.arrow}".strip()) for metric in metrics]
    heads = [*texts, *measures, count]
    columns = "l" * len(texts) + "r" * (len(heads) - len(texts))
    body = "\n".join(" & ".join(line) + r" \\" for line in lines)
    return "\n".join(
        [
            r"% needs \usepackage{booktabs,longtable}",
            rf"\begin{{longtable}}{{{columns}}}",
            rf"\caption{{{about}}} \\",
            r"\toprule",
            " & ".join(heads) + r" \\",
            r"\midrule",
            r"\endhead",
            body,
            r"\bottomrule",
            r"\end{longtable}",
            "",
        ]
    )


def safe(text: str) -> str:
    return "".join(SPECIAL.get(c, c) for c in text)
