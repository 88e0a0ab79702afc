"""How many forwards PTN's two strategies need, and on how many cells they stop at the same try.

    python benchmarks/scan_or_bisect.py [--seeds 0] [--set model.net.width=0.125 ...]

Bisecting is exact where the known poison's accuracy never rises again once it was low enough; how
often that holds is counted here, on real victims: ResNet-9 fitted on digits with a BadNets trigger,
every PTN method, four shares of known poison and two poison rates. Both strategies share victims
and importances through the store. A forward is a pass over the known poison, one per try asked.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import logging
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as run.py does

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import open_dict

CONF = Path(__file__).parent.parent / "conf"
METHODS = ("ssd_ptn", "lfssd_ptn", "assd_ptn", "alfssd_ptn", "xlf_ptn")
DISCOVERIES = ("one", "10pct", "50pct", "100pct")
RATES = ("1_5pct", "2_5pct")  # 22 and 36 poisoned images: a tenth of them is more than one


def search(folder: Path, overrides: list[str]) -> dict[str, Any]:
    """What result.json says of the search of `python run.py experiment=smoke overrides`."""
    run = Path(tempfile.mkdtemp(dir=folder))
    places = [
        f"output={folder}",
        f"hydra.runtime.output_dir={run}",
        f"hydra.runtime.cwd={folder}",
        "hydra.mode=RUN",
    ]
    quiet = ["experiment=smoke", "logger=none", "progress=false", "save_models=false"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [*quiet, *places, *overrides], return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    (task,) = instantiate(cfg.task).values()
    with contextlib.redirect_stdout(io.StringIO()):
        task(cfg)
    return json.loads((run / "result.json").read_text())["search"]


def row(name: str, scans: list[dict[str, Any]], bisections: list[dict[str, Any]]) -> str:
    """One line of the table: the cells of one method, or all."""
    pairs = list(zip(scans, bisections, strict=True))
    same = sum(a["tries"] == b["tries"] and a["met"] == b["met"] for a, b in pairs)
    met = sum(a["met"] for a in scans)
    forwards = [sum(s["forwards"] for s in searches) for searches in (scans, bisections)]
    most = max(b["forwards"] for b in bisections)
    ratio = forwards[1] / forwards[0]
    return (
        f"{name:12}{same:>6} of {len(pairs):<4}{met:>5}"
        f"{forwards[0]:>10}{forwards[1]:>10}{ratio:>9.3f}{most:>10}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", default=["0"])
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="more overrides, for every run"
    )
    args = parser.parse_args()
    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("antidote").setLevel(logging.ERROR)
    found: dict[str, dict[str, list[dict[str, Any]]]] = {
        m: {"scan": [], "bisect": []} for m in METHODS
    }
    with tempfile.TemporaryDirectory() as folder:
        for seed, rate, method, known in itertools.product(args.seeds, RATES, METHODS, DISCOVERIES):
            cell = [
                f"seed={seed}",
                f"poison_rate={rate}",
                f"unlearning={method}",
                f"discovery={known}",
                *args.set,
            ]
            for strategy, searches in found[method].items():
                searches.append(search(Path(folder), [*cell, f"unlearning.strategy={strategy}"]))
            a, b = (searches[-1] for searches in found[method].values())
            tries, forwards = ([s[k] for s in (a, b)] for k in ("tries", "forwards"))
            print(
                f"seed {seed} {rate:8}{method:11}{known:8}"
                f"stops after {tries} tries, {forwards} forwards",
                flush=True,
            )
    print(
        f"\n{'':12}{'same stop':>13}{'met':>6}{'scan':>10}{'bisect':>10}{'ratio':>9}{'at most':>10}"
    )
    for method, both in found.items():
        print(row(method, both["scan"], both["bisect"]))
    scans, bisections = (
        [s for both in found.values() for s in both[k]] for k in ("scan", "bisect")
    )
    print(row("all", scans, bisections))
    met = [a["met"] for a in scans]
    if any(met):
        print(
            row(
                "all met",
                *(list(itertools.compress(searches, met)) for searches in (scans, bisections)),
            )
        )


if __name__ == "__main__":
    main()
