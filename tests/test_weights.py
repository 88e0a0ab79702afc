"""Weights that somebody brings: every kind of file, wherever they lie, and what is refused."""

import logging

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from antidote.core import BadInput
from antidote.model.normalize import Normalize
from antidote.model.resnet9 import ResNet9
from antidote.model.weights import weights

MEAN, STD = torch.full((3,), 0.4), torch.full((3,), 0.2)


def made(seed=0, width=0.1, mean=MEAN):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ResNet9(4, mean, STD, width)


THEIRS = made(7)
STATE = THEIRS.state_dict()


def prefixed(prefix, state=STATE):
    return {prefix + name: w for name, w in state.items()}


def without(*ends, state=STATE):
    return {name: w for name, w in state.items() if not name.endswith(ends)}


class Extra:
    """What a checkpoint holds besides, and weights_only does not read."""


def is_theirs(path, net=None):
    net = net or made()
    net.load_state_dict(weights(path, net))
    return all(torch.equal(w, STATE[name]) for name, w in net.state_dict().items())


@pytest.mark.parametrize("name", ["x.safetensors", "x.pt", "x.pth", "x.ckpt", "x"])
@pytest.mark.parametrize("save", [torch.save, save_file], ids=["torch", "safetensors"])
def test_weights_are_read_whatever_the_file_is_called(tmp_path, save, name):
    save(dict(STATE), tmp_path / name)
    assert is_theirs(tmp_path / name)


def test_torchs_older_format_is_read(tmp_path):
    torch.save(STATE, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    assert is_theirs(tmp_path / "x.pt")


@pytest.mark.parametrize("prefix", ["module.", "net.", "model.", "_orig_mod.", "module.net."])
def test_a_prefix_of_all_names_is_left_out_and_that_is_said(tmp_path, caplog, prefix):
    torch.save(prefixed(prefix), tmp_path / "x.pt")
    with caplog.at_level(logging.INFO):
        assert is_theirs(tmp_path / "x.pt")
    assert f"their prefix {prefix} left out" in caplog.text


@pytest.mark.parametrize(
    ("held", "where"),
    [
        ({"state_dict": STATE, "epoch": 3}, "under state_dict"),
        ({"model": STATE, "optimizer": {"state": {0: {"momentum": STATE["fc.weight"]}}}}, "model"),
        ({"net": prefixed("module."), "args": [1, "x"]}, "under net, their prefix module."),
        ({"last": {"weights": {"model": STATE}}}, "under last.weights.model"),
        ({"ema": STATE, "state_dict": STATE}, "under state_dict"),
        ({"best": STATE, "fc.weight": STATE["fc.weight"]}, "under best"),
    ],
)
def test_a_state_dict_inside_a_checkpoint_is_found_and_that_is_said(tmp_path, caplog, held, where):
    torch.save(held, tmp_path / "x.pth")
    with caplog.at_level(logging.INFO):
        assert is_theirs(tmp_path / "x.pth")
    assert where in caplog.text


def test_two_sets_that_fit_alike_are_refused(tmp_path):
    torch.save({"student": STATE, "teacher": made(8).state_dict()}, tmp_path / "x.pt")
    with pytest.raises(BadInput, match="several sets of weights that fit: student, teacher; save"):
        weights(tmp_path / "x.pt", made())


def test_normalisation_that_is_missing_is_the_datas_and_that_is_said(tmp_path, caplog):
    torch.save(without("normalize.mean", "normalize.std"), tmp_path / "x.pt")
    net = made(mean=torch.tensor([0.1, 0.2, 0.3]))
    with caplog.at_level(logging.INFO):
        net.load_state_dict(weights(tmp_path / "x.pt", net))
    assert "no normalisation: mean and deviation are those of the data" in caplog.text
    assert net.normalize.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert torch.equal(net.fc.weight, STATE["fc.weight"])


def test_normalisation_that_is_there_is_taken(tmp_path, caplog):
    torch.save(STATE, tmp_path / "x.pt")
    with caplog.at_level(logging.INFO):
        assert is_theirs(tmp_path / "x.pt", made(mean=torch.zeros(3)))
    assert "no normalisation" not in caplog.text


def test_counts_of_batches_that_older_files_lack_are_not_missed(tmp_path):
    torch.save(without("num_batches_tracked"), tmp_path / "x.pt")
    assert torch.equal(weights(tmp_path / "x.pt", made())["fc.weight"], STATE["fc.weight"])


class Wrapped(nn.Module):
    """A net of somebody's own in a wrapper that normalises, as the guide has it."""

    def __init__(self):
        super().__init__()
        self.normalize = Normalize(MEAN, STD)
        self.inner = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 2))


@pytest.mark.parametrize("prefix", ["", "module.", "inner."])
def test_weights_from_before_the_net_was_wrapped_are_taken(tmp_path, prefix):
    theirs, net = Wrapped(), Wrapped()
    torch.save(prefixed(prefix, theirs.inner.state_dict()), tmp_path / "x.pt")
    net.load_state_dict(weights(tmp_path / "x.pt", net))
    assert torch.equal(net.inner[3].weight, theirs.inner[3].weight)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_taken_and_told(tmp_path, caplog, kind):
    state = {name: w.to(kind) if w.is_floating_point() else w for name, w in STATE.items()}
    save_file(state, tmp_path / "x.safetensors")
    net = made()
    with caplog.at_level(logging.INFO):
        net.load_state_dict(weights(tmp_path / "x.safetensors", net))
    assert net.fc.weight.dtype == torch.float32
    assert torch.equal(net.fc.weight, STATE["fc.weight"].to(kind).float())
    assert str(kind).removeprefix("torch.") in caplog.text


def test_another_net_is_one_sentence_with_the_first_tensors_that_differ(tmp_path):
    torch.save(made(width=0.2).state_dict(), tmp_path / "x.pt")
    with pytest.raises(BadInput) as said:
        weights(tmp_path / "x.pt", made())
    assert "another net than ResNet9 as configured: tensors that differ: " in str(said.value)
    assert (
        "first conv1.0.weight ((13, 3, 3, 3) in the file, (6, 3, 3, 3) here), conv1.0.bias"
        in str(said.value)
    )


def test_of_a_net_with_other_names_some_of_either_are_told(tmp_path):
    torch.save(nn.Linear(3, 4).state_dict(), tmp_path / "x.pt")
    with pytest.raises(BadInput) as said:
        weights(tmp_path / "x.pt", made())
    assert "first conv1.0.weight (absent in the file, (6, 3, 3, 3) here)" in str(said.value)
    assert "weight ((4, 3) in the file, absent here)" in str(said.value)


def test_names_that_only_some_have_are_no_prefix(tmp_path):
    torch.save({**prefixed("net."), "loss.weight": torch.ones(4)}, tmp_path / "x.pt")
    with pytest.raises(BadInput, match=r"differ: 1, first loss\.weight \(\(4,\) in the file, abs"):
        weights(tmp_path / "x.pt", made())


def spoiled(name, change):
    return {**STATE, name: change(STATE[name].clone())}


def one_nan(w):
    w.view(-1)[3] = torch.nan
    return w


@pytest.mark.parametrize(
    ("held", "why"),
    [
        (spoiled("fc.weight", one_nan), r"1 of 52 numbers of fc\.weight are not finite"),
        (
            spoiled("conv1.1.running_var", lambda w: w / 0),
            r"6 of 6 numbers of conv1\.1\.running_var",
        ),
        (spoiled("fc.weight", lambda w: w.mul(9).char()), r"fc\.weight holds int8, no floating"),
        (spoiled("fc.weight", lambda w: w.long()), r"fc\.weight holds int64"),
        (spoiled("fc.weight", lambda w: w.cfloat()), r"fc\.weight holds complex64"),
        (spoiled("normalize.mean", lambda w: w * torch.nan), r"3 of 3 numbers of normalize\.mean"),
    ],
)
def test_weights_that_nothing_can_be_computed_with_are_refused_when_read(tmp_path, held, why):
    torch.save(held, tmp_path / "x.pt")
    with pytest.raises(BadInput, match=why):
        weights(tmp_path / "x.pt", made())


@pytest.mark.parametrize(
    ("held", "why"),
    [
        (THEIRS, r"weights_only \(.*Unsupported global.*\); write it with torch\.save"),
        ({"state_dict": STATE, "more": Extra()}, "Unsupported global"),
        ({"epoch": 3}, "holds no tensors; save net.state_dict()"),
        (torch.ones(3), "holds no tensors"),
    ],
)
def test_a_file_that_holds_something_else_is_refused_in_one_line(tmp_path, held, why):
    torch.save(held, tmp_path / "x.pt")
    with pytest.raises(BadInput, match=why) as said:
        weights(tmp_path / "x.pt", made())
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 no zip", b"12345678{no json"])
def test_a_file_of_nonsense_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(BadInput, match=r"x\.pt is neither a safetensors file nor") as said:
        weights(tmp_path / "x.pt", made())
    assert "\n" not in str(said.value)


def test_a_scripted_net_is_refused_in_one_line(tmp_path):
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "x.pt")
    with pytest.raises(BadInput, match=r"x\.pt is neither a safetensors file nor"):
        weights(tmp_path / "x.pt", made())


def test_a_brought_victim_goes_the_whole_route(run, small, tmp_path):
    first = run("unlearning=none")
    state = load_file(first.folder / "victim.safetensors")
    state = prefixed("module.", without("normalize.mean", "normalize.std", state=state))
    torch.save({"state_dict": state, "epoch": 1}, tmp_path / "my model (1).pth")
    brought = run("unlearning=none", f"victim='{tmp_path}/my model (1).pth'")
    assert brought["after"] == first["after"]
    assert brought["seconds"]["fit"] is None


def test_a_victim_that_is_refused_is_refused_before_any_work(run, small, tmp_path, monkeypatch):
    from antidote.poison.badnets import BadNets

    monkeypatch.setattr(BadNets, "poison", lambda *a: pytest.fail("poison was made"))
    torch.save(nn.Linear(3, 4).state_dict(), tmp_path / "x.pt")
    with pytest.raises(SystemExit, match="is of another net than ResNet9"):
        run("unlearning=none", f"victim={tmp_path}/x.pt")
