"""The tables of README.md about tracing, and about all methods against all poisons.

    python results/tables.py

Prints them, from the csv files beside it; a test holds the README to them. Figures are means over
the seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from antidote.report.benchmark.summary import marks

HERE = Path(__file__).parent
ATTACKS = {
    "badnets": "BadNets patch",
    "faint_patch": "faint patch (opacity 0.2)",
    "blended": "blended noise (opacity 0.2)",
    "sinusoid": "sinusoid (SIG, wrong labels)",
    "two_triggers": "two patches, one never discovered",
    "adaptive_blend": "Adaptive-Blend",
    "all_to_all": "all-to-all patch",
    "sinusoid_clean": "clean-label sinusoid",
    "interclass": "interclass confusion",
    "label_noise": "labels drawn anew",
}
FAILS = {
    ("gaussian", "resnet9"): "Gaussian noise, ResNet-9",
    ("gradient_matching", "resnet9"): "targeted, CIFAR-10, ResNet-9",
    ("gradient_matching", "linear"): "targeted, logistic regression",
    ("gradient_canceling", "linear"): "indiscriminate, logistic regression",
}
CROSS, ON_CIFAR = "fails_cross_small", "fails_cifar10_{}_small"
CROSSED = {  # column: the poison, and the files that have its cells
    "patch": ("badnets", [f"{ON_CIFAR.format('cross')}/cells.csv"]),
    "noise": ("gaussian", [f"{ON_CIFAR.format('cross')}/cells.csv"]),
    "targeted": ("gradient_matching", [f"{ON_CIFAR.format('targeted')}/cells.csv"]),
    "indiscriminate": ("gradient_canceling", [f"{ON_CIFAR.format('indiscriminate')}/cells.csv"]),
}
CROSSED_ON_CLOTHES = {
    "patch": ("badnets", [f"{CROSS}/cells.csv"]),
    "noise": ("gaussian", [f"{CROSS}/cells.csv"]),
    "targeted, linear": (
        "gradient_matching",
        ["fails_targeted_small/cells.csv", f"{CROSS}/linear.csv"],
    ),
    "indiscriminate, linear": (
        "gradient_canceling",
        ["fails_indiscriminate_small/cells.csv", f"{CROSS}/linear.csv"],
    ),
}
HARDER = ["traced_attacks_small", "traced_labels_small"]
KNOWN = {"one": "one", "10pct": "10 %"}
TRACERS = "features", "confidence", "influence", "fall", "spectral", "activation_clustering"


def cells(name: str) -> pd.DataFrame:
    return pd.read_csv(HERE / name / "cells.csv").fillna({"tracing": "none"})


def attacks(name: str, tracing: str) -> str:
    """Every method against every attack, with one tracer or without."""
    table = cells(name)
    table = table[table["tracing"] == tracing]
    methods = list(dict.fromkeys(table["method"]))
    traced = ["recall / precision"] * (tracing != "none")
    beside = ["floor", "recovered by `relabel`"] * (tracing != "none")
    rows = []
    for attack, known, part in places(table):
        by_method = {m: part[part["method"] == m] for m in methods}
        found = [shares(part)] * len(traced)
        told = [outcome(by_method[m]) for m in methods]
        ends = [
            percent(part["attack_success_floor"]),
            percent(by_method["relabel"]["recovered"], 0),
        ]
        rows.append([attack, known, *found, *told, *ends[: len(beside)]])
    return markdown(["attack", "known", *traced, *map(code, methods), *beside], rows)


def swaps(name: str = "traced_swaps_small") -> str:
    """Wrong labels without a trigger: every tracer with every method."""
    table = cells(name)
    methods = list(dict.fromkeys(table["method"]))
    rows = []
    for attack, known, part in places(table):
        for i, tracing in enumerate(("none", "features", "confidence")):
            here = part[part["tracing"] == tracing]
            found = "-" if tracing == "none" else shares(here)
            told = [outcome(here[here["method"] == m]) for m in methods]
            rows.append([*(["", ""] if i else [attack, known]), code(tracing), found, *told])
    heads = ["labels", "known", "tracing", "recall / precision", *map(code, methods)]
    return markdown(heads, rows)


def tracers(names: Sequence[str]) -> str:
    """Recall and precision of all of them."""
    table = pd.concat([cells(name) for name in names])
    rows = [
        [attack, known, *(shares(part[part["tracing"] == tracer]) for tracer in TRACERS)]
        for attack, known, part in places(table)
    ]
    return markdown(["attack", "known", *map(code, TRACERS)], rows)


def costs(names: Sequence[str]) -> str:
    """Traced, against retraining on the same rows: the mean ratio, and two medians."""
    each = ["poison", "rate", "discovery", "seed"]
    table = pd.concat([cells(name) for name in names]).query("tracing == 'features'")
    table = table.set_index(each)
    base, rows = table[table["method"] == "retrain"], []
    for method in (m for m in dict.fromkeys(table["method"]) if m != "retrain"):
        part = table[table["method"] == method]
        against, own = base.loc[part.index], part["seconds_unlearn"]
        ratios = [
            (part["sample_gradients"] / against["sample_gradients"]).mean(),
            (own / against["seconds_unlearn"]).median(),
            ((own + part["seconds_trace"]) / against["seconds_unlearn"]).median(),
        ]
        rows.append([code(method), *(f"{ratio:.2f}" for ratio in ratios)])
    heads = ["method", "sample gradients", "seconds of the method", "seconds with tracing"]
    return markdown(heads, rows)


def traced_fails() -> str:
    """The second paper's poisons, a tenth known: what is left, traced first or not.

    traced.csv has the cells.csv of the experiments' sweeps, one after the other.
    """
    table = pd.read_csv(HERE / "fails_cross_small/traced.csv").fillna({"tracing": "none"})
    table = table[table["residual"].notna()]
    rows = []
    for (poison, model), name in FAILS.items():
        mine = table[(table["poison"] == poison) & (table["model"] == model)]
        for i, tracing in enumerate(("none", "features")):
            part = mine[mine["tracing"] == tracing]
            seeds = part.drop_duplicates("seed").sort_values("seed")
            found = "-" if tracing == "none" else f"{each(seeds['tracing/recall'])} / "
            found += "" if tracing == "none" else percent(seeds["tracing/precision"], 0)
            told = [remains(part[part["method"] == m]) for m in ("retrain", "relabel")]
            rows.append(["" if i else name, code(tracing), found, *told])
    heads = ["poison", "tracing", "recall of each victim / mean precision"]
    return markdown([*heads, code("retrain"), code("relabel")], rows)


def on_cifar() -> str:
    """Potion's benchmark on CIFAR-10, by what is known: means over the rates; a dash: not run."""
    table, rows = cells("potion_cifar10_small"), []
    for tracing in ("none", "features"):
        mine = table[table["tracing"] == tracing]
        for method in (m for m in dict.fromkeys(mine["method"]) if m != "none"):
            part = mine[mine["method"] == method]
            parts = [part[part["discovery"] == known] for known in (*KNOWN, "100pct")]
            told = [outcome(of) if len(of) == 3 else "-" for of in parts]
            rows.append([code(method), code(tracing), *told])
    return markdown(["method", "tracing", *KNOWN.values(), "100 %"], rows)


def crossed(files_of: Mapping[str, tuple[str, Sequence[str]]]) -> str:
    """Methods of both papers against poisons of both, all of it known: what is left, points lost.

    Methods that know a budget had a tenth of the victim's compute.
    """
    columns = {head: learned(files, poison) for head, (poison, files) in files_of.items()}
    methods = dict.fromkeys(m for part in columns.values() for m in part["unlearning"])
    order = sorted(methods, key=lambda m: (m not in ("none", "retrain"), m.endswith("_tuned")))
    rows = []
    for method in order:
        parts = {head: part[part["unlearning"] == method] for head, part in columns.items()}
        rows.append([code(method), *(left(part) for part in parts.values())])
    return markdown(["method", *columns], rows)


def learned(files: Sequence[str], poison: str) -> pd.DataFrame:
    """A poison's cells, at a tenth of the compute, of the victims that had learned it."""
    table = pd.concat([pd.read_csv(HERE / file) for file in files])
    tenth = table["command"].str.contains("budget=10pct") | table["unlearning"].isin(
        ["none", "retrain"]
    )
    return table[(table["poison"] == poison) & tenth & table["residual"].notna()]


def left(part: pd.DataFrame) -> str:
    """Targets still hit of those that were, else the mean share; and the points lost."""
    if part.empty:
        return "-"
    share = percent(part["residual"], 0)
    if part["poison"].iloc[0] == "gradient_matching":
        share = f"{part['residual'].sum():.0f} of {len(part)}"
    return f"{f'{share} {marks(part)}'.rstrip()}, {number(part['accuracy_drop'])}"


def each(values: pd.Series) -> str:
    return ", ".join(f"{100 * value:.0f}" for value in values)


def remains(part: pd.DataFrame) -> str:
    """Poison left, points lost."""
    return f"{percent(part['residual'], 0)}, {number(part['accuracy_drop'])}"


def places(table: pd.DataFrame) -> Iterable[tuple[str, str, pd.DataFrame]]:
    """(attack, known, its cells), an attack being named once."""
    for poison in (p for p in ATTACKS if p in set(table["poison"])):
        for i, known in enumerate(KNOWN):
            part = table[(table["poison"] == poison) & (table["discovery"] == known)]
            yield "" if i else ATTACKS[poison], KNOWN[known], part


def shares(part: pd.DataFrame) -> str:
    """Recall and precision of a tracer; of each seed if one of them found nothing."""
    seeds = part.drop_duplicates("seed").sort_values("seed")
    assert len(seeds), "not run"
    nothing = seeds["tracing/rows"] == 0
    if nothing.all():
        return "nothing"
    if not nothing.any():
        return f"{number(seeds['tracing/recall'], 0)} / {percent(seeds['tracing/precision'], 0)}"
    return "; ".join(shares(seed.to_frame().T) for _, seed in seeds.iterrows())


def outcome(part: pd.DataFrame) -> str:
    """Healed, points lost, attack success left."""
    lost, success = number(part["accuracy_drop"], 1), percent(part["attack_success"], 1)
    healed = "-" if part["healed"].isna().all() else percent(part["healed"], 1)
    return f"{healed}, {lost}, {success}"


def number(values: pd.Series, digits: int = 1) -> str:
    """The mean, in percent."""
    return f"{round(100 * values.astype(float).mean(), digits) + 0.0:.{digits}f}"


def percent(values: pd.Series, digits: int = 1) -> str:
    return f"{number(values, digits)} %"


def code(name: str) -> str:
    return f"`{name}`"


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def all_tables() -> list[str]:
    tracer_grids = ["tracers_small", "tracers_labels_small", "tracers_swaps_small"]
    of_attacks = [attacks(name, tracing) for tracing in ("features", "none") for name in HARDER]
    of_costs = [costs(names) for names in (["traced_small"], HARDER)]
    of_poisons = [on_cifar(), crossed(CROSSED), crossed(CROSSED_ON_CLOTHES), traced_fails()]
    return [*of_attacks, *of_costs, swaps(), tracers(tracer_grids), *of_poisons]


if __name__ == "__main__":
    print(*all_tables(), sep="\n\n")
