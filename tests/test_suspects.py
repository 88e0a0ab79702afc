"""Suspicious samples that somebody lists: names, ends of paths, rows, tables."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from antidote.core import BadInput
from antidote.core.lists import entries
from antidote.core.names import rows_of
from antidote.discovery import Listed

NAMES = (
    "train/cat/1.png",
    "train/cat/2.png",
    "train/dog/1.png",
    "train/dog/old/3.jpg",
    "train/dog/old 7.png",
    "train/ümlaut/#5 best.png",
    "train/17/x.png",
)


@pytest.fixture
def data(tiny):
    return replace(tiny, names=NAMES, left_out=("train/cat/9.png",))


def rows(data, *given):
    return rows_of(data, given, "discovery.file=s.txt")[0]


@pytest.mark.parametrize(
    ("given", "row"),
    [
        ("train/cat/1.png", 0),
        ("cat/1.png", 0),
        ("2.png", 1),
        ("./cat/2.png", 1),
        ("old/3.jpg", 3),
        ("pictures/train/dog/1.png", 2),
        ("/home/me/pictures/train/dog/1.png", 2),
        ("../pictures/train/dog/1.png", 2),
        (r"C:\pictures\train\dog\1.png", 2),
        (r"dog\old\3.jpg", 3),
        ("old 7.png", 4),
        ("#5 best.png", 5),
        ("u\u0308mlaut/#5 best.png", 5),
        ("17/x.png", 6),
        ("17", 17),
        ("0", 0),
        ("17 # blurred", 17),
        ("2.png  # a stamp in the corner", 1),
        ("ümlaut/#5 best.png # odd", 5),
    ],
)
def test_a_sample_goes_by_its_name_by_an_end_of_it_or_by_its_row(data, given, row):
    assert rows(data, given) == [row]


def test_several_are_taken_in_their_order(data):
    assert rows(data, "2.png", "5", "cat/1.png") == [1, 5, 0]


def test_a_whole_name_is_not_ambiguous_where_an_end_of_it_is(tiny):
    data = replace(tiny, names=("train/a/1.png", "train/b/train/a/1.png"))
    assert rows(data, "train/a/1.png") == [0]
    assert rows(data, "b/train/a/1.png") == [1]
    assert rows(data, "/x/train/b/train/a/1.png") == [1]


@pytest.mark.parametrize("given", ["1.png", "1.png # which?"])
def test_a_name_of_two_samples_is_refused_with_both(data, given):
    with pytest.raises(BadInput) as said:
        rows(data, "2.png", given)
    assert str(said.value) == (
        "discovery.file=s.txt names 1.png, which could be train/cat/1.png or train/dog/1.png; "
        "write more of the path"
    ).replace("names 1.png,", f"names {given.partition(' #')[0]},")


@pytest.mark.parametrize(
    "given", ["cat/7.png", "test/cat/1.png", "at/1.png", "-1", "007", "1.5", "1e3", "cat", ".", "²"]
)
def test_what_is_no_training_sample_is_refused(data, given):
    with pytest.raises(BadInput, match="which is no training sample; they are called as train/cat"):
        rows(data, given)


def test_the_first_of_many_unknown_ones_is_named(data):
    with pytest.raises(BadInput, match=r"names \['a.png'\] \(and 2 more\), which is no"):
        rows(data, "a.png", "2.png", "b.png", "c.png")


def test_data_without_names_take_rows_only(tiny):
    assert rows(tiny, "3", "0") == [3, 0]
    with pytest.raises(BadInput, match=r"names \['a.png'\].* these have no names, but rows"):
        rows(tiny, "3", "a.png")


def listed(tmp_path, content, name="suspects.txt", column=None):
    raw = content if isinstance(content, bytes) else content.encode()
    (tmp_path / name).write_bytes(raw)
    return entries(tmp_path / name, column, "discovery.file")


@pytest.mark.parametrize(
    "content",
    [
        "a.png\n17\n",
        "a.png\r\n17",
        "# found by eye\n\n  a.png  \n#b.png\n17\n\n",
        "\ufeffa.png\n17\n",
        "a.png\n17\n".encode("utf-16"),
    ],
)
def test_a_list_has_one_sample_a_line(tmp_path, content):
    assert listed(tmp_path, content) == ["a.png", "17"]


def test_a_name_may_hold_what_separates_columns_and_any_bytes(tmp_path):
    assert listed(tmp_path, b"a, b; c.png\nx\xff.png") == [
        "a, b; c.png",
        "x\udcff.png",
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("s.csv", "file,score\na.png,0.9\n17,0.1\n"),
        ("s.csv", "score;Path\n0.9;a.png\n0.1;17\n"),
        ("s.tsv", "id\tname\n1\ta.png\n2\t17\n"),
        ("s.txt", "row,why\na.png,x\n17,y\n"),
        ("s.csv", '# by hand\nfile,why\n"a.png","stamp, corner"\n\n17,\n'),
        ("s.csv", "file\na.png\n17\n"),
        ("s.txt", "File\na.png\n17\n"),
        ("s.csv", ",filename\n0,a.png\n1,17\n"),
    ],
)
def test_of_a_table_the_column_that_names_samples_is_read(tmp_path, name, content):
    assert listed(tmp_path, content, name) == ["a.png", "17"]


def test_a_column_may_be_named(tmp_path):
    table = "file,mine\nb.png,a.png\nc.png,17\n"
    assert listed(tmp_path, table, "s.csv", column="Mine") == ["a.png", "17"]


@pytest.mark.parametrize(
    ("content", "column", "why"),
    [
        ("what,score\na.png,1\n", None, "no column that names samples, only what, score;"),
        ("a.png\nb.png\n", None, r"no column that names samples, only a\.png;"),
        ("file,score\na.png,1\n", "path", "no column path, only file, score"),
        ("score,file\n1,a.png\n2\n", None, r"names no sample in 1 of its 2 rows; .*\['2'\]"),
        ("score,file\n1,a.png\n2,\n", None, "names no sample in 1 of its 2 rows"),
    ],
)
def test_a_table_that_does_not_say_what_names_samples_is_refused(tmp_path, content, column, why):
    with pytest.raises(BadInput, match=why):
        listed(tmp_path, content, "s.csv", column)


def test_a_file_that_is_none_or_no_text_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"discovery\.file=.*gone\.txt is not a file"):
        entries(tmp_path / "gone.txt", None, "discovery.file")
    with pytest.raises(BadInput, match=r"suspects\.txt cannot be read as text"):
        listed(tmp_path, b"\xff\xfeabc")


@pytest.mark.parametrize("content", ["", "\n \n", "# nobody\n"])
def test_a_list_without_a_sample_is_refused(tmp_path, content):
    (tmp_path / "s.txt").write_text(content)
    with pytest.raises(BadInput, match=r"s\.txt lists no sample"):
        Listed(str(tmp_path / "s.txt"), None)


def test_a_file_must_be_given():
    with pytest.raises(BadInput, match=r"discovery\.file=null names no file"):
        Listed(None, None)


def test_suspects_that_are_not_trained_on_are_warned_of(tmp_path, data, caplog):
    (tmp_path / "s.txt").write_text("cat/9.png\n2.png\n2.png\n")
    nobody = torch.empty(0, dtype=torch.int64)
    known, _ = Listed(str(tmp_path / "s.txt"), None)(nobody, nobody.bool(), data)
    assert known.tolist() == [1]
    (said,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert said.startswith("1 of 3 suspects are not trained on")
    assert said.endswith("train/cat/9.png first")
    (tmp_path / "s.txt").write_text("cat/9.png\n")
    with pytest.raises(BadInput, match="none of its samples is trained on"):
        Listed(str(tmp_path / "s.txt"), None)(nobody, nobody.bool(), data)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Twenty dark and twenty bright images for training, four of each for testing."""
    root = tmp_path_factory.mktemp("pictures")
    for part, n in (("train", 20), ("test", 4)):
        for k, name in enumerate(("dark", "bright")):
            (root / part / name).mkdir(parents=True)
            for i in range(n):
                path = root / part / name / f"{i:02}.png"
                Image.new("L", (12, 12), 150 * k + 3 * i).save(path)
    return root


def overrides(root, file):
    return [
        *("dataset=image_folder", f"dataset.folder={root}", "dataset.size=12"),
        *("dataset.channels=1", "recipe.epochs=1", "model.net.width=0.125", "threads=1"),
        *("poison=none", "discovery=files", f"discovery.file={file}", "unlearning=finetune"),
    ]


def known(left):
    return np.load(left.folder / "poison.npz")["known"].tolist()


def test_listed_files_are_the_known_part_and_the_list_is_part_of_the_identity(
    run, pictures, tmp_path
):
    first = tmp_path / "first.txt"
    first.write_text("dark/03.png\ntrain/bright/00.png  # odd\n")
    left = run(*overrides(pictures, first), small=[])
    assert known(left) == [0, 23]  # bright comes first
    assert left["n_known"] == 2
    again = run(*overrides(pictures, first), small=[])
    assert (again["id"], again["config_hash"]) == (left["id"], left["config_hash"])
    (tmp_path / "elsewhere").mkdir()
    moved = first.rename(tmp_path / "elsewhere/first.txt")
    assert run(*overrides(pictures, moved), small=[])["id"] == left["id"]
    moved.write_text("dark/03.png\ndark/04.png\n")
    other = run(*overrides(pictures, moved), small=[])
    assert known(other) == [23, 24]
    assert other["id"] != left["id"]
    assert other["settings"]["discovery"]["file"] != left["settings"]["discovery"]["file"]


def test_of_what_somebody_brings_nobody_claims_to_know_the_truth(run, pictures, tmp_path, caplog):
    (tmp_path / "s.txt").write_text("dark/03.png\ndark/04.png\n")
    chosen = [*overrides(pictures, tmp_path / "s.txt"), "tracing=spectral"]
    left = run(*chosen, "unlearning=xlf_ptn", small=[])
    assert left["unmet"] == ""
    assert "bear their true" not in caplog.text
    assert left["tracing/rows"] > 0
    assert left["tracing/precision"] is None
    lines = (left.folder / "traced.txt").read_text().splitlines()
    assert len(lines) == left["tracing/rows"]
    assert all(line.startswith("train/") for line in lines)
    again = run(*overrides(pictures, left.folder / "traced.txt"), small=[])
    with np.load(left.folder / "traced.npz") as traced:
        assert known(again) == sorted(traced["rows"])


def test_rows_can_be_listed_for_any_data(run, small, tmp_path):
    (tmp_path / "rows.csv").write_text("row,why\n42,odd\n3,odd\n")
    file = f"discovery.file={tmp_path}/rows.csv"
    left = run("poison=none", "discovery=files", file, "unlearning=finetune")
    assert known(left) == [3, 42]


def test_a_row_beyond_the_data_is_refused(run, small, tmp_path):
    (tmp_path / "rows.txt").write_text("600\n")
    file = f"discovery.file={tmp_path}/rows.txt"
    with pytest.raises(SystemExit, match="names sample 600 but the ids go from 0 to 599"):
        run("poison=none", "discovery=files", file, "unlearning=finetune")


def test_a_missing_list_is_refused_before_data_are_read(run, small, monkeypatch):
    from antidote.engine import source

    monkeypatch.setattr(source, "load", lambda *a: pytest.fail("data were read"))
    with pytest.raises(SystemExit, match=r"discovery\.file=/nowhere\.txt is not a file"):
        run("poison=none", "discovery=files", "discovery.file=/nowhere.txt", "unlearning=finetune")


def test_long_lists_need_no_long_command(tmp_path):
    (tmp_path / "s.txt").write_text("\n".join(map(str, range(100_000))))
    assert len(entries(Path(tmp_path / "s.txt"), None, "discovery.file")) == 100_000
