"""What a run's figures come to, in words that a person can act on."""

import pytest
from forks import typed

from antidote.engine.records import Records
from antidote.metrics.judgement import doubts, judged, worst_class
from antidote.metrics.score import Recovery, Regained, Residual, Untouched

VERDICT = Recovery("trigger/accuracy_all", "test/accuracy", "trigger/success", "poisoned/accuracy")


def figures(clean=0.9, attacked=0.1, success=0.99):
    return {
        "test/accuracy": clean,
        "trigger/accuracy_all": attacked,
        "trigger/success": success,
        "poisoned/accuracy": attacked,
    }


def result(residual=0.0, drop=0.0, before=0.9, after=0.9, **more):
    return {
        "before": {"x": 0},
        "after": {"x": 1},
        "attack_success_before": 0.99,
        "n_poisoned": 10,
        "n_known": 9,
        "residual": residual,
        "accuracy_drop": drop,
        "worst_class": "T-shirt/top",
        "worst_class_accuracy_before": before,
        "worst_class_accuracy": after,
        "worst_class_drop": before - after,
    } | more


def test_a_sound_victim_raises_no_doubts():
    assert doubts(figures(), 1.0, 10, VERDICT) == []


def test_a_victim_at_chance():
    (said,) = doubts(figures(0.11, 0.01), 1.0, 10, VERDICT)
    assert said.startswith("the victim answers 11.0 % of the test images right, as chance would")
    assert "normalisation" in said


def test_a_victim_that_does_not_believe_what_is_known():
    (said,) = doubts(figures(), 0.2, 10, VERDICT)
    assert said.startswith("the victim gives only 20.0 % of the known samples the labels")


def test_a_trigger_that_was_never_learned():
    (said,) = doubts(figures(0.9, 0.895, 0.009), 1.0, 10, VERDICT)
    assert said == "the attack was never learned (attack success 0.9 %): nothing to heal"


def test_data_that_came_poisoned_have_nothing_to_measure():
    assert doubts({"test/accuracy": 0.9}, None, 10, Untouched("test/accuracy")) == []


def test_the_class_that_lost_most():
    before = {"test/class_accuracy/0": 0.8, "test/class_accuracy/1": 0.9}
    after = {"test/class_accuracy/0": 0.1, "test/class_accuracy/1": 0.95}
    told = worst_class(before, after, ["cat", "dog"])
    assert told["worst_class"] == "cat"
    assert told["worst_class_drop"] == pytest.approx(0.7)
    assert worst_class({}, {}, ["cat", "dog"]) == {}


@pytest.mark.parametrize(
    ("found", "word", "said"),
    [
        (result(), "good", "0 % of the poison is left, 0.0 points of accuracy lost"),
        (result(-0.02, -0.01), "good", "0 % of the poison is left, 1.0 points of accuracy gained"),
        (result(0.12), "costly", "12 % of the poison is left: name more known samples"),
        (result(drop=0.03), "costly", "3.0 points of accuracy lost; turn it down"),
        (result(after=0.7), "costly", "class T-shirt/top 90.0 -> 70.0 %; turn it down"),
        (result(0.5), "do not use", "50 % of the poison is left"),
        (result(drop=0.079, after=0.009), "do not use", "class T-shirt/top 90.0 -> 0.9 %; 7.9 "),
        (result(None), "nothing to heal", "no poison was seen"),
        (result(None, drop=0.05), "nothing to heal", "5.0 points of accuracy lost; turn it down"),
    ],
)
def test_a_verdict_and_what_to_turn(found, word, said):
    told = judged(found, "turn it down")
    assert told["word"] == word
    assert told["why"].startswith(said)


@pytest.mark.parametrize(
    ("poisoned", "known", "advice"),
    [(10, 9, "name more known samples"), (10, 10, "all of it was known"), (0, 3, "name more")],
)
def test_who_knows_all_of_the_poison_is_not_told_to_name_more(poisoned, known, advice):
    told = judged(result(0.5) | {"n_poisoned": poisoned, "n_known": known}, "")
    assert told["why"].startswith(f"50 % of the poison is left: {advice}")


def test_a_net_that_is_as_it_was_gets_no_verdict():
    assert judged(result(1.0) | {"after": {"x": 0}}, "") is None


def test_without_an_attack_of_ours_the_known_samples_tell():
    known = {"known_believed_before": 1.0, "known_believed": 0.05}
    found = result() | known
    del found["attack_success_before"], found["residual"]
    assert judged(found, "")["word"] == "good"
    assert judged(found | {"known_believed": 0.9}, "")["word"] == "do not use"
    assert judged(found | {"known_believed_before": 0.0}, "")["word"] == "nothing to heal"


@pytest.mark.parametrize(
    ("verdict", "figures", "word", "why"),
    [
        (
            Residual("gus", "control", "n", "test/accuracy"),
            {"gus": 0.1, "control": 0.09, "n": 100},
            "nothing to heal",
            "no poison was seen in the victim",
        ),
        (Regained("test/accuracy"), {}, "cannot tell", "what is left of this poison shows beside"),
    ],
)
def test_that_poison_with_true_labels_is_still_believed_says_nothing(verdict, figures, word, why):
    """All known samples of such attacks bear their true labels, which a sound net gives them."""
    found = result() | {"ceiling": None, "known_believed_before": 1.0, "known_believed": 1.0}
    del found["attack_success_before"], found["residual"]
    measured = {"test/accuracy": 0.9} | figures
    found |= verdict(measured, measured)
    told = judged(found, "", verdict.needs_ceiling)
    assert told["word"] == word
    assert told["why"].startswith(why)


def test_what_cannot_be_told_may_still_have_cost_too_much():
    told = judged(result(None, drop=0.2) | {"ceiling": None}, "turn it down", True)
    assert told["word"] == "do not use"
    told = judged(result(None, drop=0.03) | {"ceiling": None}, "turn it down", True)
    assert told["word"] == "cannot tell"
    assert told["why"].endswith("fits one; 3.0 points of accuracy lost; turn it down")


def test_with_a_ceiling_it_is_told():
    assert judged(result(0.05) | {"ceiling": {}}, "", True)["word"] == "good"


def test_an_attack_of_ones_own_may_tell_healed_alone():
    found = result() | {"healed": 0.5, "known_believed_before": 1.0, "known_believed": 0.0}
    del found["attack_success_before"], found["residual"]
    assert judged(found, "")["why"].startswith("50 % of the poison is left")


def test_a_run_says_what_happened(small, tmp_path):
    """One pass over 600 digits does not teach a patch on six of them."""
    done = typed(*small, "logger=none", "unlearning=ssd", f"output={tmp_path}")
    assert done.returncode == 0, done.stderr
    (record,) = Records(tmp_path)
    assert "class that lost most (" in done.stdout
    assert f"verdict     {record['judgement']['word']}: {record['judgement']['why']}" in done.stdout
    assert 0 <= record["known_believed_before"] <= 1
    said = done.stdout
    assert said.index("the victim gives only") < said.index("unlearning with ssd")
