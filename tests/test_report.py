"""The report's files and page, from a few records whose numbers are known."""

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from made_records import failure, record, table, traced, untraced
from omegaconf import open_dict

from antidote.core import BadInput
from antidote.engine.results import results
from antidote.report.benchmark.page import About
from antidote.report.benchmark.report import close, make
from antidote.task.report import report as door

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HEALED = {"none": (0.0, 0.0, 0.0), "retrain": (0.1, 0.2, 0.3), "xlf_ptn": (0.8, 0.9, 1.0)}
DROP = {"none": 0.0, "retrain": 0.02, "xlf_ptn": 0.01}
SECONDS = {"none": 0.001, "retrain": 60.0, "xlf_ptn": 6.0}
ABOUT = About("All of it", "python run.py task=report", "here/records", time="now")


def took(seconds: float) -> dict:
    return {"fit": 50.0, "unlearn": seconds, "evaluate": 1.0}


def grid() -> list[dict]:
    """Three methods, two discoveries and three seeds."""
    return [
        record(
            f"{method}-{discovery}-{seed}",
            unlearning=method,
            discovery=discovery,
            seed=seed,
            healed=healed,
            accuracy_drop=DROP[method],
            attack_success=1 - healed,
            seconds=took(SECONDS[method]),
        )
        for method, values in HEALED.items()
        for discovery in ("one", "10pct")
        for seed, healed in enumerate(values)
    ]


def others() -> list[dict]:
    """A failure; a cell done twice, by two versions of the code, after a failure; a wider net."""
    return [
        failure("broken", "<b>too hot</b>", unlearning="scrub"),
        failure("mended", "at first", seed=7),
        record("mended", healed=0.1, seed=7),
        record("mended-again", config_hash="mended", commit="cafe", seed=7),
        record("wide", accuracy_drop=0.002, model__net__width=0.5),
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An output folder with records."""
    folder = tmp_path_factory.mktemp("report")
    table(folder, *grid(), *others())
    return folder


@pytest.fixture(scope="module")
def report(place):
    """The folder of the report of all records."""
    return make(results(place), None, ABOUT, place / "report").parent


@pytest.fixture(scope="module")
def page(report):
    return (report / "index.html").read_text()


def written(folder: Path, *records: dict, wanted=None) -> tuple[pd.DataFrame, str]:
    """(cells.csv, page) of a report of these records."""
    path = make(table(folder, *records), wanted, ABOUT, folder / "report")
    return pd.read_csv(path.with_name("cells.csv")), path.read_text()


def test_each_cell_is_in_the_table_once_with_its_newest_result_and_its_command(report):
    cells = pd.read_csv(report / "cells.csv").set_index("config_hash")
    assert len(cells) == 3 * 2 * 3 + 2
    assert cells.index.is_unique
    assert cells.loc["mended", "id"] == "mended-again"
    assert cells.loc["mended", "healed"] == 0.9
    for id, command in zip(cells["id"], cells["command"], strict=True):
        assert command.endswith(f"x={id}")


def test_the_summary_holds_means_and_student_intervals(report):
    rows = pd.read_csv(report / "summary.csv")
    one = rows[(rows["method"] == "xlf_ptn") & (rows["discovered"] == "one sample")].squeeze()
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
    gaps = pd.read_csv(report / "missing.csv")
    assert gaps["state"].tolist() == ["failed"]
    assert gaps["error"].tolist() == ["<b>too hot</b>"]
    assert gaps["command"].str.endswith("x=broken").all()
    assert "1 % poisoned, 10 % discovered, SCRUB, seed 0" in gaps["cell"].item()


def test_with_a_grid_the_report_covers_its_cells_and_tells_which_are_missing(place, tmp_path):
    wanted = {"none-one-0": "do a", "retrain-one-0": "do b", "broken": "do c", "killed": "do d"}
    path = make(results(place), wanted, ABOUT, tmp_path)
    cells = pd.read_csv(tmp_path / "cells.csv")
    assert set(cells["config_hash"]) == {"none-one-0", "retrain-one-0"}
    gaps = pd.read_csv(tmp_path / "missing.csv")
    assert list(gaps["state"]) == ["failed", "missing"]
    assert list(gaps["command"]) == ["do c", "do d"]
    assert "<b>2 <small>of 4</small></b><span>cells finished</span>" in path.read_text()


def test_a_killed_run_which_left_no_record_is_missing_and_in_no_mean(tmp_path):
    cells, page = written(tmp_path, record("a"), wanted={"a": "do a", "killed": "do b"})
    assert cells["config_hash"].tolist() == ["a"]
    assert "<b>1</b><span>missing</span>" in page
    methods = pd.read_csv(tmp_path / "report/methods.csv")
    assert methods["runs"].item() == 1


def test_the_page_says_how_many_versions_of_the_code_its_cells_come_from(page, tmp_path):
    assert "cells of 2 commits: c0ffee, cafe" in " ".join(page.split())
    alone = written(tmp_path, record("a"))[1]
    assert "cells of commit c0ffee" in " ".join(alone.split())


def test_cells_go_by_the_values_that_acted_whatever_options_they_came_from(tmp_path):
    acted = {"poison__rate": 0.05, "discovery__share": 0.3}
    cells, page = written(tmp_path, record("usual"), record("odd", **acted))
    odd = cells.set_index("config_hash").loc["odd"]
    assert odd[["rate", "share", "discovered"]].tolist() == [0.05, 0.3, "30 %"]
    assert cells["setting"].isna().all()  # or each row would stand in a table of its own
    assert "5 % poisoned" in page
    rows = pd.read_csv(tmp_path / "report/summary.csv")
    assert list(zip(rows["rate"], rows["discovered"], strict=True)) == [
        (0.01, "10 %"),
        (0.05, "30 %"),
    ]


def test_a_value_reached_by_another_option_stands_in_the_same_group(tmp_path):
    by_number = record("b", seed=1, discovery="0.1", discovery__share=0.1)
    by_number["settings"]["poison_rate"] = 0.02
    written(tmp_path, record("a"), by_number)
    rows = pd.read_csv(tmp_path / "report/summary.csv")
    assert rows["runs"].tolist() == [2]


def test_settings_that_differ_far_behind_are_two_settings(tmp_path):
    ids = list(range(1400))
    named = {"discovery": "ids", "poison": "none"}
    pair = [
        record(name, **named, discovery__ids=[*ids, last], discovery__share=None)
        for name, last in (("a", 7001), ("b", 7002))
    ]
    cells, page = written(tmp_path, *pair)
    assert cells["setting"].nunique() == 2
    assert cells["setting"].str.len().max() < 80
    assert len(pd.read_csv(tmp_path / "report/summary.csv")) == 2
    assert "named samples" in page


def test_means_of_nothing_are_dashes(tmp_path):
    nothing = dict.fromkeys(("healed", "healed_train", "attack_success"))
    about = {"seconds": {"fit": None, "unlearn": None, "evaluate": None}, "accuracy_drop": None}
    pair = [record(n, seed=i, **nothing, **about) for i, n in enumerate("ab")]
    shares = [record(f"{r['id']}-one", **nothing, **about, discovery="one") for r in pair]
    _, page = written(tmp_path, *pair, *shares)
    assert not re.search(r"<td[^>]*>\s*(nan|NaN|None)\b", page)
    assert "<td>– <small></small></td>" in page
    for name in ("methods.tex", "summary.tex"):
        text = (tmp_path / "report" / name).read_text()
        assert "nan" not in text
        assert "& -- &" in text


def test_an_attack_of_which_nothing_is_recorded_breaks_nothing(tmp_path):
    settings = record("x")["settings"]
    clean = record("clean", poison="none", n_poisoned=0, healed=None, settings=settings)
    del clean["settings"]["poison"]["rate"]
    for name in list(clean):
        if name.startswith(("attack", "harmed", "healed_")):
            del clean[name]
    cells, page = written(tmp_path, clean)
    assert cells["rate"].isna().all()
    assert "In no cell was there an attack of ours" in page


def test_dollars_in_names_are_no_formula_in_a_figure(tmp_path):
    names = {"dataset__folder": "$0-$50", "recipe__schedule": r"$\frac{$"}
    pair = [
        record(f"{method}-{i}", unlearning=method, **(names if i else {}), seed=i % 2)
        for method in ("none", "xlf_ptn")
        for i in range(3)
    ]
    _, page = written(tmp_path, *pair)
    assert "$0-$50" in page


def test_figures_of_an_earlier_report_in_the_same_folder_go(tmp_path):
    for name in ("trade_off.svg", "trade_off.png", "mine.svg", "mine.png"):
        (tmp_path / "report").mkdir(exist_ok=True)
        (tmp_path / "report" / name).touch()
    written(tmp_path, record("a"))
    left = {p.name for p in (tmp_path / "report").glob("*.[ps][nv]g")}
    assert left == {"mine.svg", "mine.png"}


def test_a_new_metric_is_shown_by_its_line_in_the_table_alone(tmp_path, monkeypatch):
    from antidote.metrics import table as metrics

    everywhere = ("run", "sweep", "cells", "summary", "page", "each", "latex", "papers")
    new = metrics.Metric("warmth", "warmth", "warmth", "share", everywhere, "how warm it is")
    monkeypatch.setitem(metrics.table(), "warmth", new)
    cells, page = written(tmp_path, record("a", warmth=0.1234))
    assert cells["warmth"].tolist() == [0.1234]
    assert page.count("12.3 %") >= 2
    assert "warmth" in (tmp_path / "report/methods.tex").read_text()


def tracing_grid() -> list[dict]:
    """Two tracers and none, two methods, discoveries and seeds each; `fall` finds nothing."""
    made = {"features": traced, "fall": traced, "none": untraced}
    return [
        of(
            f"{method}-{tracer}-{discovery}-{seed}",
            **({} if tracer == "none" else {"tracer": tracer, "rows": 9 * (tracer != "fall")}),
            unlearning=method,
            discovery=discovery,
            seed=seed,
            healed=0.9 if tracer == "features" else 0.5,
        )
        for tracer, of in made.items()
        for method in ("relabel", "xlf_ptn")
        for discovery in ("one", "10pct")
        for seed in range(2)
    ]


def test_a_method_with_and_without_a_tracer_is_never_averaged_over(tmp_path):
    cells, page = written(tmp_path, *tracing_grid())
    assert len(cells) == 24
    assert set(cells["tracing"]) == {"none", "features", "fall"}
    methods = pd.read_csv(tmp_path / "report/methods.csv").set_index(["method", "tracing"])
    assert methods["runs"].tolist() == [4] * 6
    assert methods.loc[("relabel", "features"), "healed"] == pytest.approx(0.9)
    assert methods.loc[("relabel", "fall"), "healed"] == pytest.approx(0.5)
    assert len(pd.read_csv(tmp_path / "report/summary.csv")) == 12
    assert '<th class="l">tracing</th>' in page
    for name in ("methods.tex", "summary.tex"):
        assert " & method & tracing & " in (tmp_path / "report" / name).read_text()


def test_recall_and_precision_are_told_where_something_traced_and_a_dash_elsewhere(tmp_path):
    _, page = written(tmp_path, *tracing_grid())
    methods = pd.read_csv(tmp_path / "report/methods.csv").set_index(["method", "tracing"])
    both = ["tracing/recall", "tracing/precision"]
    assert methods.loc[("xlf_ptn", "features"), both].tolist() == pytest.approx([0.9, 0.95])
    assert methods.loc[("xlf_ptn", "fall"), "tracing/recall"] == 0
    assert methods.loc[("xlf_ptn", "fall"), "tracing/precision":].isna().iloc[0]
    assert methods.loc[("xlf_ptn", "none"), both].isna().all()
    assert "A dash is a figure that a row cannot have, not a zero" in page
    assert "tracing, recall" in page
    assert not re.search(r"<td[^>]*>\s*(nan|NaN|None)\b", page)


def test_what_tracing_found_has_a_figure_of_its_own(tmp_path):
    written(tmp_path, *tracing_grid())
    names = {p.name for p in (tmp_path / "report").glob("tracing*")}
    assert names == {"tracing.png", "tracing.svg"}
    written(tmp_path / "none", untraced("a"))
    assert not list((tmp_path / "none/report").glob("tracing*"))


def test_figures_name_a_tracer_if_there_are_several(tmp_path):
    shown = {"several": tracing_grid(), "one": [r for r in tracing_grid() if "fall" not in r["id"]]}
    svg = {}
    for name, records in shown.items():
        written(tmp_path / name, *records)
        path = tmp_path / name / "report/trade_off.svg"
        svg[name] = re.findall(r"<!-- (.*traced.*) -->", path.read_text())
    assert set(svg["one"]) == {"XLF + PTN, traced", "relabelling, traced"}
    assert "XLF + PTN, traced by features" in svg["several"]
    assert "relabelling, traced by fall of belief" in svg["several"]


def test_where_nothing_traced_a_report_is_as_it_was_before_there_was_tracing(tmp_path):
    def files(folder: Path, *records: dict) -> dict[str, bytes]:
        written(folder, *records)
        names = re.compile(rb"\b[a-z]+[0-9a-f]{10}\b")
        return {p.name: names.sub(b"", p.read_bytes()) for p in (folder / "report").iterdir()}

    seconds = {"fit": 50.0, "unlearn": 6.0, "evaluate": 1.0}
    pair = [("relabel", 0), ("relabel", 1), ("xlf_ptn", 0), ("xlf_ptn", 1)]
    names = [(f"{m}-{d}-{s}", m, d, s) for m, s in pair for d in ("one", "10pct")]
    old, new = (
        [of(i, unlearning=m, discovery=d, seed=s, **more) for i, m, d, s in names]
        for of, more in ((record, {"seconds": seconds}), (untraced, {}))
    )
    before, after = files(tmp_path / "old", *old), files(tmp_path / "new", *new)
    assert before == after
    assert b"tracing" not in b"".join(v for k, v in after.items() if not k.endswith("png"))


def test_old_records_and_those_without_a_tracer_are_one_group(tmp_path):
    new = untraced("b", seed=1)
    new["settings"]["tracing"] = {"_target_": "antidote.tracing.none.NoTracing"}
    cells, _ = written(tmp_path, record("a"), new)
    assert cells["setting"].isna().all()
    assert set(cells["method"]) == {"xlf_ptn"}
    assert pd.read_csv(tmp_path / "report/summary.csv")["runs"].tolist() == [2]


def test_a_tracers_own_setting_is_told_in_its_column(tmp_path):
    pair = [traced(f"a{d}", "fall") for d in (2, 3)]
    for made, distance in zip(pair, (2, 3), strict=True):
        made["settings"]["tracing"] = {"distance": distance, "seed": distance}
    cells, page = written(tmp_path, *pair, untraced("b"))
    told = cells.set_index("config_hash")["tracing"].to_dict()
    assert told == {"a2": "fall, distance 2", "a3": "fall, distance 3", "b": "none"}
    assert set(cells["method"]) == {"xlf_ptn"}
    assert len(pd.read_csv(tmp_path / "report/methods.csv")) == 3
    assert "fall of belief, distance 3" in page


def test_a_traced_cell_stands_beside_no_papers_figure(tmp_path):
    assert "Papers beside ours" not in written(tmp_path, traced("a", "fall"))[1]


def test_a_failed_cell_is_told_with_its_tracer(tmp_path):
    written(tmp_path, untraced("a"), failure("b", "too hot", tracing="influence"))
    gaps = pd.read_csv(tmp_path / "report/missing.csv")
    assert "XLF + PTN, traced by influence, seed 0" in gaps["cell"].item()


def test_a_tracer_counts_in_the_figure_of_seconds(tmp_path, monkeypatch):
    from antidote.report.benchmark import costs

    seen = []
    monkeypatch.setattr(costs, "lanes", lambda figure, cells, values, name: seen.append(values))
    written(tmp_path, traced("a", "fall"), untraced("b"))
    assert sorted(seen[0]) == [6.0, 9.0]


def configured(place: Path, *overrides: str):
    """The config of `python run.py overrides`; `HydraConfig` is set."""
    fixed = [f"output={place}", f"hydra.runtime.cwd={ROOT}", f"hydra.runtime.output_dir={place}"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", [*overrides, *fixed, "hydra.mode=RUN"], return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


class Planned:
    """A cell of a grid, as far as a report asks."""

    def __init__(self, config_hash: str) -> None:
        self.config_hash, self.command = config_hash, f"do {config_hash}"


def no_grid():
    raise AssertionError("no grid was named")


def test_without_an_experiment_the_report_is_of_all_records(place, capsys):
    door(configured(place, "task=report", "logger=none"), no_grid)
    assert capsys.readouterr().out == f"report  {place}/report/index.html\n"
    page = (place / "report/index.html").read_text()
    assert "<h1>All cells that are done</h1>" in page
    assert "<code>python run.py task=report logger=none" in page


def test_an_experiment_on_the_command_line_is_a_grid(tmp_path):
    table(tmp_path, record("a"), record("b"))
    door(configured(tmp_path, "task=report", "experiment=smoke"), lambda: [Planned("a")])
    page = (tmp_path / "report/index.html").read_text()
    assert "<h1>Experiment smoke</h1>" in page
    assert "<b>1 <small>of 1</small></b>" in page


def test_an_output_without_results_ends_in_one_sentence(tmp_path):
    table(tmp_path, failure("a", "too hot"))
    with pytest.raises(SystemExit, match=r"^error: .* holds no finished run"):
        door(configured(tmp_path, "task=report", "experiment=smoke"), no_grid)


def test_an_output_that_is_not_there_is_not_created(tmp_path):
    with pytest.raises(SystemExit, match="holds no finished run"):
        door(configured(tmp_path / "none", "task=report"), no_grid)
    assert not (tmp_path / "none").exists()


def test_a_grid_of_which_nothing_is_done_ends_in_one_sentence(place, tmp_path):
    with pytest.raises(BadInput, match="none of the 1 cells"):
        make(results(place), {"never": "do it"}, ABOUT, tmp_path)


def test_a_sweep_leaves_the_report_of_its_cells_beside_its_jobs_and_says_where(
    place, tmp_path, capsys
):
    path = close(results(place), {"retrain-one-0": "do it"}, tmp_path)
    assert path == tmp_path / "report/index.html"
    assert capsys.readouterr().out == f"report  {path}\n"
    assert len(pd.read_csv(tmp_path / "report/cells.csv")) == 1


def test_a_closing_report_that_fails_is_told_and_raises_nothing(place, tmp_path, caplog):
    assert close(results(place), {"never": "do it"}, tmp_path) is None
    (said,) = caplog.messages
    assert said == f"no report: none of the 1 cells has a finished run in {tmp_path}"
    broken = results(place).drop(columns="params")
    assert close(broken, None, tmp_path) is None
    assert caplog.messages[1].startswith("no report: KeyError")


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


def test_the_same_records_give_the_same_tables_and_figures(report, place):
    def files() -> dict[str, bytes]:
        # matplotlib names some clip paths by their place in memory
        names = re.compile(rb"\b[a-z]+[0-9a-f]{10}\b")
        kept = (p for p in report.iterdir() if p.suffix != ".html")
        return {p.name: names.sub(b"", p.read_bytes()) for p in kept}

    before = files()
    make(results(place), None, ABOUT, report)
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
