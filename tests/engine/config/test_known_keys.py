"""A wrong key is answered with the key that was meant, wherever in the tree it stands."""

from __future__ import annotations

import random
import re

import pytest

from engine.config import parse_config
from engine.config.known_keys import all_keys, hint, meant, section_at
from engine.errors import ConfigError


@pytest.mark.parametrize(
    ("key", "first"),
    [
        ("loop.round_steps", "classifier.round_steps"),
        ("judge.round_steps", "classifier.round_steps"),
        ("classifier.rounds", "loop.rounds"),
        ("round_steps", "classifier.round_steps"),
        ("loop.round", "loop.rounds"),
        ("loop.guidance_scale", "synthesis.guidance_scale"),
        ("train_sets", "data.split.train_sets"),
        ("vea.lr", "vae.lr"),
        ("data.split.image_size", "data.image_size"),
        ("loop.round_step", "classifier.round_steps"),
        ("classifer", "classifier"),
    ],
)
def test_the_key_that_was_meant_comes_first(key: str, first: str) -> None:
    assert meant(tuple(key.split(".")))[0] == first


def test_a_key_in_the_wrong_section_is_found_for_every_key_of_the_tree() -> None:
    keys = [key for key in all_keys() if "." in key and section_at(tuple(key.split("."))) is None]
    sections = [key for key in all_keys() if section_at(tuple(key.split("."))) is not None]
    draw = random.Random(0)
    for key in keys:
        last = key.rpartition(".")[2]
        wrong = draw.choice(
            [name for name in sections if last not in section_at(tuple(name.split("."))).model_fields]
        )  # type: ignore[union-attr]
        assert key in meant((*wrong.split("."), last)), (wrong, last)


def test_a_typo_in_its_own_section_is_found_for_every_key_of_the_tree() -> None:
    keys = [key for key in all_keys() if len(key.rpartition(".")[2]) >= 6]
    for key in keys:
        *section, last = key.split(".")
        wrong = last[:2] + last[3:]
        found = meant((*section, wrong))
        assert key in found or wrong in {name.rpartition(".")[2] for name in found}, (key, found)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"loop": {"round_steps": 5}}, "loop.round_steps: unknown key; did you mean classifier.round_steps?"),
        ({"round_steps": 5}, "round_steps: unknown key; did you mean classifier.round_steps?"),
        ({"qqqq": 5}, "qqqq: unknown key; sections: name, seed"),
        ({"vae": {"loss": {"qqqq": 5}}}, "vae.loss.qqqq: unknown key; known keys: kl, l1, l2, ssim"),
    ],
)
def test_the_message_of_a_config(tree: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_config(tree)


def test_nothing_alike_lists_what_there_is() -> None:
    assert hint(("vae", "loss", "zzzz")) == "known keys: kl, l1, l2, ssim"
