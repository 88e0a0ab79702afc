"""`python run.py task=options group=unlearning`: one group of options with all their knobs."""

from __future__ import annotations

from omegaconf import DictConfig

from antidote.report.options import group_text, to_choose
from antidote.report.options import options as found
from antidote.report.terminal import tell
from hydra_plugins.antidote_plugins import folders


def options(cfg: DictConfig) -> None:
    """Raises `SystemExit` with a sentence for a group that there is not."""
    places = folders()
    text = group_text(places, str(cfg.group))
    if text is None:
        groups = ", ".join(g for g in found(places) if to_choose(g))
        raise SystemExit(f"error: group={cfg.group} is no group of options; those are {groups}")
    tell(text)
