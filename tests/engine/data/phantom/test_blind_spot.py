"""A planted blind spot: which lesions hide it, what they look like, and that nothing but the pixels tells."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from engine.config import BlindSpotConfig, PhantomConfig, parse_config
from engine.data.captions import captions
from engine.data.phantom import blind_spot
from engine.data.phantom.appearance import ARCHETYPES
from engine.data.phantom.lesions import PhantomLesion, draw_lesions, generate, render, subtype_of
from engine.errors import ConfigError, DataError
from engine.evaluation.metrics import area_under_roc
from engine.stages.images import Params
from engine.types import strings

SEED = 3
MALIGNANT = ("mel", "bcc", "akiec")


def phantoms(share: float = 0.25, difficulty: float = 0.9, lesions: int = 56) -> PhantomConfig:
    """Phantoms with a blind spot: 8 lesions a class unless ``lesions`` differs, at most two views."""
    spot = BlindSpotConfig(share=share, difficulty=difficulty)
    return PhantomConfig(lesions=lesions, views=2, difficulty=0.4, imbalance=0.0, blind_spot=spot)


def without(config: PhantomConfig) -> PhantomConfig:
    return config.model_copy(update={"blind_spot": None})


def hidden(config: PhantomConfig) -> list[PhantomLesion]:
    return [lesion for lesion in draw_lesions(config, SEED) if lesion.hidden]


def test_all_but_the_subtype_is_as_without_a_blind_spot() -> None:
    config = phantoms()
    table, images, masks = generate(config, 16, SEED)
    plain_table, plain_images, plain_masks = generate(without(config), 16, SEED)
    hidden_N = subtype_of(table.image_id, config, SEED)
    same_N = (images == plain_images).all(axis=(1, 2, 3)) & (masks == plain_masks).all(axis=(1, 2))
    assert same_N.tolist() == (~hidden_N).tolist()
    for field in dataclasses.fields(table):
        ours, theirs = (getattr(one, field.name) for one in (table, plain_table))
        assert np.array_equal(ours, theirs, equal_nan=field.name == "age"), field.name
    assert captions(table) == captions(plain_table)


def test_no_blind_spot_no_key_and_nothing_hidden() -> None:
    def key(**phantom: Any) -> dict[str, Any]:
        tree: dict[str, Any] = Params.of(parse_config({"data": {"phantom": phantom}}), "").to_json()["data"]
        return dict(tree["phantom"])

    assert key() == {"lesions": 400, "views": 2, "difficulty": 0.5, "imbalance": 0.5}
    assert key(blind_spot={"share": 0.2})["blind_spot"] == {"dx": "mel", "share": 0.2, "difficulty": 0.8}
    config = without(phantoms())
    assert not any(lesion.hidden for lesion in draw_lesions(config, SEED))


@pytest.mark.parametrize(("share", "count"), [(0.1, 1), (0.25, 2), (0.5, 4), (1.0, 8)])
def test_share_is_exact_to_the_nearest_lesion(share: float, count: int) -> None:
    lesions = hidden(phantoms(share))
    assert len(lesions) == count
    assert {lesion.dx for lesion in lesions} == {"mel"}


def test_a_larger_share_keeps_the_lesions_of_a_smaller_one() -> None:
    few, many = ({lesion.index: lesion.look for lesion in hidden(phantoms(share))} for share in (0.25, 0.5))
    assert few.items() <= many.items()


def test_another_seed_hides_other_lesions() -> None:
    config = phantoms()
    other = {lesion.index for lesion in draw_lesions(config, SEED + 1) if lesion.hidden}
    assert other != {lesion.index for lesion in hidden(config)}


def test_a_share_without_a_lesion_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"blind_spot\.share: 0\.02 of 8 lesions of mel is none; raise it"):
        draw_lesions(phantoms(0.02), SEED)


def test_subtype_of_knows_its_own_images_in_any_order_and_refuses_others() -> None:
    config = phantoms()
    lesions = draw_lesions(config, SEED)
    views = [lesion.hidden for lesion in lesions for _ in range(lesion.views)]
    rows = [len(views) - 1, views.index(True), 0]
    names = strings([f"PHANTOM_{row + 1:07d}" for row in rows])
    assert subtype_of(names, config, SEED).tolist() == [views[row] for row in rows]
    with pytest.raises(
        DataError, match=r"ISIC_0000001 is not one of the \d+ phantoms of seed 3; give the config"
    ):
        subtype_of(strings(["ISIC_0000001"]), config, SEED)


def test_every_subtype_is_of_a_malignant_class_and_like_a_benign_one() -> None:
    for dx, subtype in blind_spot.SUBTYPES.items():
        assert dx in MALIGNANT
        assert subtype.like in set(ARCHETYPES) - set(MALIGNANT)


def test_difficulty_0_is_the_class_itself() -> None:
    config = phantoms(0.5, 0.0)
    plain = {lesion.index: lesion.look for lesion in draw_lesions(without(config), SEED)}
    for lesion in hidden(config):
        assert lesion.look == plain[lesion.index]


def test_difficulty_moves_pixels_towards_the_look_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    def pixels(difficulty: float) -> list[np.ndarray]:
        return [render(one, 0, 24)[0].astype(float) for one in hidden(phantoms(1.0, difficulty))]

    shown = [pixels(difficulty) for difficulty in (0.0, 0.4, 0.8)]
    bare = dataclasses.replace(blind_spot.SUBTYPES["mel"], cue_share=0.0)
    monkeypatch.setattr(blind_spot, "SUBTYPES", MappingProxyType({"mel": bare}))
    alike = pixels(1.0)
    away = [np.mean([np.abs(a - b).mean() for a, b in zip(one, alike, strict=True)]) for one in shown]
    assert away[0] > 1.5 * away[1] > 1.5 * 1.5 * away[2] > 0.0


def test_its_own_cue_tells_it_from_the_look_alike() -> None:
    def redness(lesion: PhantomLesion) -> float:
        image, mask = render(lesion, 0, 32)
        inside, outside = (image[rows].astype(float).mean(axis=0) for rows in (mask > 0, mask == 0))
        return float(np.log(inside[0] / inside[1]) - np.log(outside[0] / outside[1]))

    lesions = draw_lesions(phantoms(1.0, 1.0, lesions=210), SEED)
    score = np.array([redness(one) for one in lesions if one.hidden or one.dx == "df"])
    truth = np.array([one.hidden for one in lesions if one.hidden or one.dx == "df"])
    assert area_under_roc(np.ones((1, len(score))), score, truth)[0] > 0.8


@pytest.mark.parametrize(
    ("spot", "message"),
    [
        ({"share": 0.0}, r"data\.phantom\.blind_spot\.share"),
        ({"difficulty": 1.5}, r"data\.phantom\.blind_spot\.difficulty"),
        ({"dx": "nv"}, r"data\.phantom\.blind_spot\.dx.*mel"),
        ({"class": "mel"}, r"data\.phantom\.blind_spot\.class"),
    ],
)
def test_wrong_settings_are_named(spot: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config({"data": {"phantom": {"blind_spot": spot}}})
