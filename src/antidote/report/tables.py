"""The report's tables as CSV and as LaTeX with booktabs rules."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from antidote.report.store import CHOICES, METRICS
from antidote.report.words import look, missing, rate, word

COLUMNS = [
    "config_hash",
    *CHOICES,
    "setting",
    "method",
    "rate",
    "share",
    "seed",
    *(name.replace("/", "_") for name in METRICS),
    "command",
    "commit",
    "run_id",
]
SPECIAL = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}
HEADS = {
    "healed": "healed",
    "healed_rel": "healed (relative)",
    "healed_asr": "healed (attack)",
    "accuracy_drop": "accuracy drop",
    "attack_success": "attack success",
    "seconds_unlearn": "seconds",
}


def csv(table: pd.DataFrame, columns: Sequence[str] | None = None) -> str:
    return table.to_csv(index=False, columns=columns)


def figure(row: pd.Series, measure: str) -> str:
    """Mean and half width, in percent (seconds as they are); a dash where not defined."""
    value, half = row[measure], row[f"{measure}_half"]
    if missing(value):
        return "--"
    times, digits = (1, 1) if measure == "seconds_unlearn" else (100, 2)
    plus = "" if missing(half) else f" $\\pm$ {times * half:.{digits}f}"
    return f"{round(times * value, digits) + 0.0:.{digits}f}{plus}"


def methods_tex(methods: pd.DataFrame) -> str:
    lines = [
        [
            safe(", ".join(filter(None, (word(row["poison"]), row["setting"])))),
            safe(look(row["method"])["label"]),
            *(figure(row, m) for m in HEADS),
            str(row["cells"]),
        ]
        for _, row in methods.iterrows()
    ]
    about = (
        "Unweighted means over (data set, net, poison rate, discovery); each cell is a mean over "
        r"seeds. Shares in \%, drop in points; $\pm$ 95 \% over seeds (Student t)."
    )
    return latex(["poison", "method", *HEADS.values(), "cells"], lines, about, text=2)


def summary_tex(summary: pd.DataFrame) -> str:
    lines = [
        [
            safe(
                ", ".join(
                    filter(None, (*map(word, row[["poison", "dataset", "model"]]), row["setting"]))
                )
            ),
            safe(rate(row["rate"])),
            safe(word(row["discovery"])),
            safe(look(row["method"])["label"]),
            *(figure(row, m) for m in HEADS),
            str(row["runs"]),
        ]
        for _, row in summary.iterrows()
    ]
    about = (
        r"Means over seeds, $\pm$ 95 \% (Student t; none for one seed). "
        r"Shares in \%, drop in points."
    )
    heads = ["place", "poisoned", "discovered", "method", *HEADS.values(), "n"]
    return latex(heads, lines, about, text=4)


def latex(heads: Sequence[str], lines: Sequence[Sequence[str]], about: str, text: int) -> str:
    """A longtable, which may break over pages; the first `text` columns are flush left."""
    columns = "l" * text + "r" * (len(heads) - text)
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
    return "".join(SPECIAL.get(c, c) for c in text).replace("×", r"$\times$")
