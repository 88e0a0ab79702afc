"""What a method sees: the known poison and the rest, as the victim saw them, and nothing more."""

import ast
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

import antidote.core
from antidote.core import History, Method, Split
from antidote.dataset.augment import CropFlip
from antidote.dataset.digits import digits

ROOT = Path(__file__).parents[1]
SOURCE = Path(antidote.core.__file__ or "").parents[1]
DEFENCES = ["tracing", "unlearning"]  # packages of what is handed a victim and a split
HANDED = []


class Spy(Method):
    """Only keeps what it is handed."""

    def unlearn(self, victim, split):
        HANDED.append((victim, split))
        return History()


@pytest.fixture(scope="module")
def handed(launch, tmp_path_factory):
    """((victim, split), poison.npz as tensors) of a run in which half of the poison is known."""
    chosen = ["unlearning=none", f"unlearning._target_={__name__}.Spy", "pictures=false"]
    place = tmp_path_factory.mktemp("handed")
    left = launch(place, *chosen, "discovery=50pct", "poison.rate=0.1")
    poison = np.load(left.folder / "poison.npz")
    return HANDED.pop(), {name: torch.from_numpy(a) for name, a in poison.items()}


@pytest.fixture(scope="module")
def seen(handed):
    """(split, poison)"""
    return handed[0][1], handed[1]


@pytest.fixture(scope="module")
def data():
    return digits(CropFlip(2, 0.0), upscale=2, test_share=0.2, seed=0, limit=600)


def reachable(thing, but=(), found=None) -> dict[int, object]:
    """All that attributes, lists and dicts lead to, without the attributes named in `but`."""
    found = {} if found is None else found
    if id(thing) in found or isinstance(thing, type):
        return found
    found[id(thing)] = thing
    if isinstance(thing, nn.Module):  # a net's weights say what was trained on, if anything does
        return found
    parts = list(thing.values()) if isinstance(thing, dict) else []
    parts += list(thing) if isinstance(thing, list | tuple | set) else []
    parts += [v for k, v in getattr(thing, "__dict__", {}).items() if k not in but]
    for part in [] if isinstance(thing, Tensor) else parts:
        reachable(part, but, found)
    return found


def tensors(thing, but=()) -> list[Tensor]:
    return [t for t in reachable(thing, but).values() if isinstance(t, Tensor)]


def same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)


def test_known_poison_and_rest_are_all_training_rows_once(seen, data):
    split, _ = seen
    assert torch.equal(
        torch.cat([split.forget.rows, split.retain.rows]).sort().values,
        torch.arange(len(data.train)),
    )


def test_the_forget_set_is_the_discovered_poison(seen):
    split, poison = seen
    assert torch.equal(split.forget.rows, poison["known"])
    assert split.forget.count == round(0.5 * len(poison["indices"]))


def test_the_undiscovered_poison_hides_in_the_rest_under_its_wrong_label(seen, data):
    split, poison = seen
    unknown = poison["unknown"]
    assert len(unknown) == len(poison["indices"]) - len(poison["known"]) > 0
    assert torch.isin(unknown, split.retain.rows).all()
    assert (split.retain.samples.y[unknown] == 0).all()
    assert (data.train.y[unknown] != 0).any()


def test_labels_are_true_wherever_there_is_no_poison(seen, data):
    split, poison = seen
    wrong = (split.retain.samples.y != data.train.y).nonzero().squeeze(1)
    assert len(wrong) > 0
    assert torch.isin(wrong, poison["indices"]).all()


def test_poison_npz_keeps_true_and_poisoned_labels_apart(seen, data):
    _, poison = seen
    assert torch.equal(
        torch.cat([poison["known"], poison["unknown"]]).sort().values, poison["indices"]
    )
    assert torch.equal(poison["true_label"], data.train.y[poison["indices"]])
    assert (poison["label"] == 0).all()


def test_the_known_poison_bears_the_trigger(seen):
    split, _ = seen
    x, y = next(iter(split.forget))
    assert (x[:, :, -3:, -3:] == 1).all()
    assert (y == 0).all()


def test_a_split_has_no_room_for_anything_else():
    assert [field.name for field in fields(Split)] == ["forget", "retain", "memo"]


def test_what_a_method_is_handed_leads_to_no_test_image_and_to_no_true_label(handed, data):
    found = tensors(handed[0])
    assert any(same(t, data.train.x) for t in found), "the walk finds not even the training images"
    hidden = (data.test.x, data.test.y, data.train.y)
    assert not [h.shape for h in hidden if any(same(t, h) for t in found)]


def test_what_a_method_is_handed_says_nowhere_which_of_the_rest_is_poisoned(handed, data):
    """But for the trigger's own `view`, which must know what to stamp: the lint below minds it."""
    poison, found = handed[1], tensors(handed[0], but=["view"])
    for rows in (poison["unknown"], poison["indices"]):
        mask = torch.zeros(len(data.train), dtype=torch.bool)
        mask[rows] = True
        assert not [t.shape for t in found if same(t, rows) or same(t.bool(), mask)]


def test_what_a_method_is_handed_leads_to_no_probe_and_to_no_attack(handed):
    kinds = {type(thing).__module__ for thing in reachable(handed[0], but=["view"]).values()}
    assert "antidote.engine.memo" in kinds
    assert not [k for k in kinds if k.startswith(("antidote.poison", "antidote.metrics"))]
    names = {type(thing).__name__ for thing in reachable(handed[0]).values()}
    assert not names & {"Probe", "Poison", "Data", "Cell", "Attempt", "Trainer", "Unlearning"}


def test_the_memo_shows_no_attribute_and_holds_no_data(seen):
    memo = seen[0].memo
    assert not [name for name in vars(memo) if not name.startswith("_Remembered__")]
    assert tensors(memo) == []


def names_of(settings) -> set[str]:
    """What `_target_`s and looked-up paths in a YAML file name."""
    if not isinstance(settings, dict):
        return set()
    named = {v for k, v in settings.items() if k in ("_target_", "path")}
    return named.union(*map(names_of, settings.values()))


def module_of(name: str) -> Path | None:
    """The file of a module of methods or tracers, or of one in which a name is defined."""
    for package in DEFENCES:
        _, _, rest = name.partition(f"antidote.{package}.")
        path = SOURCE / package / f"{rest.split('.')[0]}.py"
        if rest and path.is_file():
            return path
    return None


def linted() -> set[Path]:
    """The modules that conf/unlearning and conf/tracing name, and what those import of theirs."""
    files = [f for package in DEFENCES for f in (ROOT / "conf" / package).rglob("*.yaml")]
    wanted = set().union(*(names_of(yaml.safe_load(f.read_text())) for f in files))
    found: set[Path] = set()
    while wanted:
        path = module_of(wanted.pop())
        if path and path not in found:
            found.add(path)
            tree = ast.walk(ast.parse(path.read_text()))
            wanted |= {n.module or "" for n in tree if isinstance(n, ast.ImportFrom)}
    return found


SECRETS = {"mask", "callbacks", "truth", "probes", "indices", "verdict", "samples"}
INSIDE = {"__closure__", "__self__", "__dict__", "_Remembered__store"}
WORLD = {"split", "forget", "retain", "loader", "held", "memo"}


def cheats(tree: ast.AST) -> set[str]:
    """Attributes that a method or a tracer may not read.

    What this can see: an attribute that is spelled out, whoever has it. `self.samples` is a setting
    of the method's own; `.view(...)` of a tensor is a call, and a loader's goes by the names that
    loaders have here. What it cannot: a name put together at run time (`getattr(x, "vi" + "ew")`),
    another name for a loader, globals, the garbage collector, files. It keeps an honest author from
    a slip; a dishonest one is for a reader to find.
    """
    read = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute)]
    called = {id(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
    own = {id(n) for n in read if isinstance(n.value, ast.Name) and n.value.id == "self"}
    found = {n.attr for n in read if n.attr in SECRETS and id(n) not in own}
    found |= {n.attr for n in read if n.attr in INSIDE}
    of_a_tensor = {
        id(n) for n in read if id(n) in called and not WORLD & set(words(ast.unparse(n.value)))
    }
    return found | {n.attr for n in read if n.attr == "view" and id(n) not in of_a_tensor}


def words(expression: str) -> list[str]:
    return "".join(c if c.isalnum() or c == "_" else " " for c in expression).split()


@pytest.mark.parametrize(
    "path", sorted(linted()), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_no_method_and_no_tracer_looks_where_the_poison_is(path):
    assert not cheats(ast.parse(path.read_text()))


@pytest.mark.parametrize("package", DEFENCES)
def test_the_lint_looks_at_every_module_of_methods_and_tracers(package):
    inside = SOURCE / package
    assert {p for p in linted() if p.parent == inside} == {
        p for p in inside.glob("*.py") if p.name != "__init__.py"
    }


CHEATS = {
    "split.forget.view": {"view"},
    "split.retain.view(x, rows)": {"view"},
    "v = self.split.retain.view.mask": {"view", "mask"},
    "trainer.callbacks[0].split": {"callbacks"},
    "poison.truth[poison.indices]": {"truth", "indices"},
    "split.retain.samples.y": {"samples"},
    "self.split.retain.samples": {"samples"},
    "split.memo._Remembered__store": {"_Remembered__store"},
    "loader.augment.__closure__": {"__closure__"},
}
HONEST = ["x.view(-1)", "self.samples", "len(split.forget.rows)", "keys.view(torch.int32)"]


@pytest.mark.parametrize("line", [*CHEATS, *HONEST])
def test_the_lint_tells_a_cheat_from_what_is_none(line):
    assert cheats(ast.parse(line)) == CHEATS.get(line, set())
