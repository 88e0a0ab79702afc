"""The report's files and page, from a small MLflow store whose numbers are known."""

import logging
import re
import shutil
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from omegaconf import open_dict

from antidote import overview, sweep
from antidote.checks import BadInput
from antidote.config import identity
from antidote.tracking import ensure_store

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HEALED = {"none": (0.0, 0.0, 0.0), "retrain": (0.1, 0.2, 0.3), "xlf_ptn": (0.8, 0.9, 1.0)}
DROP = {"none": 0.0, "retrain": 0.02, "xlf_ptn": 0.01}
SECONDS = {"none": 0.001, "retrain": 60.0, "xlf_ptn": 6.0}
DISCOVERIES = {"one": None, "10pct": 0.1}


def add(client, experiment, name, status="FINISHED", error="", width=0.25, **about) -> str:
    """A run called `name`, also its hash, as a run of ours leaves it; its id."""
    cell = {"poison": "badnets", "dataset": "digits", "model": "resnet9", "recipe": "one_cycle"}
    cell |= {"discovery": "10pct", "unlearning": "xlf_ptn"} | about
    seed = cell.pop("seed", 0)
    measured = cell.pop("metrics", {})
    params = {f"choice.{k}": v for k, v in cell.items()} | {
        "poison_rate": "0.01",
        "seed": str(seed),
        "model.net.width": str(width),
        "discovery.share": str(DISCOVERIES[cell["discovery"]]),
    }
    tags = {
        "config_hash": name,
        "command": f"python run.py seed={seed} x={name}",
        "commit": "c0ffee",
    }
    run = client.create_run(experiment).info.run_id
    now = int(1000 * time.time())
    client.log_batch(
        run,
        [Metric(k, v, now, 0) for k, v in measured.items()],
        [Param(k, v) for k, v in params.items()],
        [RunTag(k, v) for k, v in (tags | ({"error": error} if error else {})).items()],
    )
    if status != "RUNNING":
        client.set_terminated(run, status)
    return run


def fill(client, experiment) -> None:
    for method, values in HEALED.items():
        for discovery in DISCOVERIES:
            for seed, healed in enumerate(values):
                metrics = {
                    "healed": healed,
                    "accuracy_drop": DROP[method],
                    "attack_success": 1 - healed,
                    "attack_success_before": 1.0,
                    "seconds/unlearn": SECONDS[method],
                    "seconds/fit": 50.0,
                }
                about = {"unlearning": method, "discovery": discovery, "metrics": metrics}
                add(client, experiment, f"{method}-{discovery}-{seed}", seed=seed, **about)
    add(client, experiment, "broken", "FAILED", error="<b>too hot</b>", unlearning="scrub")
    add(client, experiment, "mended", "FAILED", error="at first", seed=7)
    last = {"healed": 0.9, "accuracy_drop": 0.01, "seconds/unlearn": 6.0, "seconds/fit": 50.0}
    add(client, experiment, "mended", metrics=last | {"healed": 0.1}, seed=7)
    time.sleep(0.01)
    add(client, experiment, "mended", metrics=last, seed=7)
    add(client, experiment, "wide", metrics=last | {"accuracy_drop": 0.002}, width=0.5)
    add(client, experiment, "killed", "RUNNING", unlearning="badt")


def configured(place: Path, *overrides: str, whole: bool = False):
    """The config of `python run.py overrides`, Hydra's own if `whole`; `HydraConfig` is set."""
    fixed = [f"output={place}", f"hydra.runtime.cwd={ROOT}", f"hydra.runtime.output_dir={place}"]
    cfg = compose("config", [*overrides, *fixed, "hydra.mode=RUN"], return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        if not whole:
            del cfg["hydra"]
    return cfg


@pytest.fixture(scope="module", autouse=True)
def hydra():
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a filled store."""
    folder = tmp_path_factory.mktemp("report")
    uri = f"sqlite:///{folder}/mlflow.db"
    ensure_store(uri, "antidote", f"{folder}/artifacts")
    client = MlflowClient(uri)
    fill(client, client.get_experiment_by_name("antidote").experiment_id)
    return folder


@pytest.fixture(scope="module")
def report(place, hydra):
    """The folder of the report of the whole store."""
    overview.report(configured(place, "task=report"))
    return place / "report"


@pytest.fixture(scope="module")
def page(report):
    return (report / "index.html").read_text()


def test_each_cell_is_in_the_table_once_with_its_newest_run_and_its_command(report):
    cells = pd.read_csv(report / "cells.csv").set_index("config_hash")
    assert len(cells) == 3 * 2 * 3 + 2
    assert cells.loc["mended", "healed"] == 0.9
    assert cells["run_id"].is_unique
    for name, command in cells["command"].items():
        assert command.endswith(f"x={name}")


def test_the_summary_holds_means_and_student_intervals(report):
    rows = pd.read_csv(report / "summary.csv")
    one = rows[(rows["method"] == "xlf_ptn") & (rows["discovery"] == "one")].squeeze()
    assert one["healed"] == pytest.approx(0.9)
    assert one["healed_half"] == pytest.approx(4.302652730 * 0.1 / 3**0.5)
    assert one["healed_n"] == 3
    wide = rows[rows["setting"] == "width 0.5"].squeeze()
    assert pd.isna(wide["healed_half"])
    assert wide["healed_n"] == 1


def test_the_methods_table_is_the_unweighted_mean_over_cells(report):
    rows = pd.read_csv(report / "methods.csv")
    slim = rows[rows["setting"] == "width 0.25"].set_index("method")
    # the cell of 10 % has a fourth seed, which is 0.9 as well
    assert slim.loc["xlf_ptn", "healed"] == pytest.approx(0.9)
    assert slim.loc["retrain", "healed"] == pytest.approx(0.2)
    assert slim.loc["xlf_ptn", ["cells", "runs"]].tolist() == [2, 7]
    assert slim["front"].to_dict() == {"none": True, "retrain": False, "xlf_ptn": True}


def test_what_failed_and_was_not_done_later_is_listed_with_its_error(report):
    gaps = pd.read_csv(report / "missing.csv").set_index("state")
    assert gaps.loc["failed", "error"] == "<b>too hot</b>"
    assert gaps.loc["failed", "command"].endswith("x=broken")
    assert gaps.loc["running or killed", "command"].endswith("x=killed")
    assert len(gaps) == 2


def test_with_a_grid_the_report_covers_its_cells_and_tells_which_are_missing(place, tmp_path):
    cfg = configured(place, "task=report")
    cfg.output = str(tmp_path)
    with open_dict(cfg):
        cfg.logger.tracking_uri = f"sqlite:///{place}/mlflow.db"
    wanted = {"none-one-0": "do a", "retrain-one-0": "do b", "broken": "do c", "never": "do d"}
    overview.make(cfg, wanted)
    cells = pd.read_csv(tmp_path / "report/cells.csv")
    assert set(cells["config_hash"]) == {"none-one-0", "retrain-one-0"}
    gaps = pd.read_csv(tmp_path / "report/missing.csv")
    assert list(gaps["state"]) == ["failed", "not begun"]
    assert list(gaps["command"]) == ["do c", "do d"]


def test_an_experiment_on_the_command_line_is_a_grid(place):
    cfg = configured(place, "task=report", "experiment=smoke")
    alone = identity(configured(place, "experiment=smoke"))["config_hash"]
    configured(place, "task=report", "experiment=smoke")
    (found,) = overview.wanted(cfg).items()
    assert found[0] == alone
    assert found[1].startswith("python run.py experiment=smoke")


def test_a_killed_job_which_left_no_hash_gets_one_from_its_overrides(place):
    alone = identity(configured(place, "experiment=smoke"))["config_hash"]
    configured(place)
    rows = [{"overrides": ["experiment=smoke"]}, {"config_hash": "a", "overrides": ["seed=1"]}]
    assert overview.of_jobs(rows) == {
        alone: "python run.py experiment=smoke",
        "a": "python run.py seed=1",
    }


def test_without_an_experiment_there_is_no_grid(place):
    assert overview.wanted(configured(place, "task=report")) is None


def test_without_mlflow_there_is_one_sentence(place):
    with pytest.raises(SystemExit, match="choose logger=mlflow"):
        overview.report(configured(place, "task=report", "logger=none"))


def test_an_empty_store_ends_in_one_sentence_and_is_not_created(tmp_path):
    with pytest.raises(SystemExit, match="holds no finished run"):
        overview.report(configured(tmp_path, "task=report"))
    assert not (tmp_path / "mlflow.db").exists()


def test_a_grid_of_which_nothing_is_done_ends_in_one_sentence(place):
    with pytest.raises(BadInput, match="none of the 1 cells"):
        overview.make(configured(place, "task=report"), {"never": "do it"})


def test_a_report_that_fails_does_not_hide_the_sweeps_own_result(place, caplog):
    cfg = configured(place, whole=True)
    with caplog.at_level(logging.ERROR):
        sweep.leave_report(cfg, [{"config_hash": "never", "overrides": ["seed=0"]}])
    assert [r.message for r in caplog.records if r.name == "antidote.sweep"] == [
        f"no report: BadInput: none of the 1 cells has a finished run in sqlite:///{place}/mlflow.db"
    ]


def test_a_sweep_leaves_the_report_of_its_cells_and_says_where(place, tmp_path, capsys):
    cfg = configured(tmp_path, f"logger.tracking_uri=sqlite:///{place}/mlflow.db", whole=True)
    job = ["seed=0", "unlearning=retrain"]
    sweep.leave_report(cfg, [{"config_hash": "retrain-one-0", "overrides": job}])
    assert capsys.readouterr().out == f"report  {tmp_path}/report/index.html\n"
    assert len(pd.read_csv(tmp_path / "report/cells.csv")) == 1


def test_a_sweep_without_mlflow_leaves_no_report_and_says_nothing(tmp_path, caplog, capsys):
    cfg = configured(tmp_path, "logger=none", whole=True)
    sweep.leave_report(cfg, [{"config_hash": "a", "overrides": []}])
    assert not list(tmp_path.iterdir())
    assert not [r for r in caplog.records if r.name == "antidote.sweep"]
    assert capsys.readouterr().out == ""


def test_each_figure_is_there_as_png_and_svg(report):
    names = {p.stem for p in report.glob("*.svg")}
    assert names == {p.stem for p in report.glob("*.png")}
    assert names == {
        "discovery_badnets_digits_resnet9_width_0.25",
        "seconds_badnets_digits_resnet9_width_0.25",
        "trade_off",
        "width",
    }
    for path in report.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_the_same_store_gives_the_same_tables_and_figures(report, place):
    def files() -> dict[str, bytes]:
        # matplotlib names some clip paths by their place in memory
        names = re.compile(rb"\b[a-z]+[0-9a-f]{10}\b")
        kept = (p for p in report.iterdir() if p.suffix != ".html")
        return {p.name: names.sub(b"", p.read_bytes()) for p in kept}

    before = files()
    overview.report(configured(place, "task=report"))
    assert before == files()


def test_the_latex_tables_have_booktabs_rules(report):
    for name in ("methods.tex", "summary.tex"):
        text = (report / name).read_text()
        assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule"))


def test_the_page_asks_the_network_for_nothing(page):
    loads = re.findall(r"""(?:src|href|srcset|action)\s*=\s*["']?([^"'\s>]+)""", page)
    assert loads
    assert all(address.startswith("data:") for address in loads)
    assert not re.search(r"@import|<script|url\(", page)


def test_the_page_holds_every_command_and_escapes_what_it_shows(page, report):
    for command in pd.read_csv(report / "cells.csv")["command"]:
        assert f"<code>{command}</code>" in page
    assert "&lt;b&gt;too hot&lt;/b&gt;" in page
    assert "<b>too hot" not in page


def test_the_page_sets_the_published_figures_beside_ours(page):
    assert "93.72 %" in page
    assert "could not be verified" in page


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_opens_in_a_browser_and_fits_its_width(page, tmp_path, width):
    # headless Chromium has no window narrower than 500 pixels, so the page goes into a frame
    probe = """<script>
        const frame = document.querySelector('iframe');
        frame.onload = () => {
            const page = frame.contentDocument, images = [...page.images];
            for (const d of page.querySelectorAll('details')) d.open = true;
            const shown = images.filter(i => i.complete && i.naturalWidth > 0).length;
            document.body.dataset.measured =
                [page.documentElement.scrollWidth, images.length, shown].join(' ');
        };
        frame.srcdoc = document.querySelector('textarea').value;
    </script>"""
    frame = f'<iframe style="width:{width}px;height:800px;border:0"></iframe>'
    text = page.replace("&", "&amp;").replace("</textarea", "&lt;/textarea")
    (tmp_path / "frame.html").write_text(
        f"<!doctype html><body>{frame}<textarea hidden>{text}</textarea>{probe}</body>"
    )
    said = subprocess.run(
        [
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--window-size=1400,900",
            "--virtual-time-budget=5000",
            f"--user-data-dir={tmp_path}/profile",
            "--dump-dom",
            f"file://{tmp_path}/frame.html",
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    measured = re.search(r'data-measured="(\d+) (\d+) (\d+)"', said.stdout)
    assert measured, said.stderr[-2000:]
    wide, images, shown = map(int, measured.groups())
    assert wide <= width
    assert images == shown > 5
