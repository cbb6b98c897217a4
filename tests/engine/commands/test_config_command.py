"""`config explain`: every key is explained from the schema, wrong ones get close matches."""

from __future__ import annotations

import io
import re
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field
from rich.console import Console

from engine.commands.config_command import default_text, explain
from engine.commands.type_text import type_text
from engine.config.known_keys import all_keys, section_at
from engine.errors import ConfigError


class Catalogue:
    """Two made-up mining policies."""

    def names(self, kind):
        return ("margin", "oracle")

    def describe(self, kind, name):
        field = {"type": "int", "default": 64, "required": False, "bounds": {"ge": 1}, "doc": "most cases"}
        needed = {"type": "text", "default": None, "required": True, "bounds": {}, "doc": "where it lives"}
        fields = {"top_k": field} | ({"place": needed} if name == "oracle" else {})
        return {"doc": f"The {name} policy.", "fields": fields}


def _said(key: str | None, policies: Any = None) -> str:
    console = Console(file=io.StringIO(), width=160)
    explain(key, console, policies)
    return console.file.getvalue()


def test_nothing_named_lists_the_sections():
    said = _said(None)
    for name in ("data", "denoiser", "loop", "policy", "search_space"):
        assert name in said


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("data.fit", ["one of crop, stretch", "default  crop", "short side"]),
        ("data.limit", ["whole number >= 1 or null", "default  null"]),
        ("vae.widths", ["list of whole number >= 8", "[16, 32, 64]"]),
        ("loop.arms", ["one of plain, real, classical, distilled", "[real, random, hard]"]),
        ("evaluation.specificity", ["> 0.0", "< 1.0", "0.9"]),
        ("synthesis.guidance_interval", ["list of 2", "[0.0, 1.0]"]),
        ("search_space", ["mapping of text to anything", "{}"]),
        ("name", ["matching ^[A-Za-z0-9]"]),
        ("data.split.merge_duplicates", ["true or false", "default  true"]),
    ],
)
def test_a_key_has_type_default_and_meaning(key, parts):
    said = _said(key)
    assert key in said
    for part in parts:
        assert part in said


def test_every_key_of_the_tree_can_be_explained():
    keys = all_keys()
    assert len(keys) > 120
    for key, field in keys.items():
        assert field.description, key
        assert key.rpartition(".")[2] in _said(key, Catalogue()) or "." not in key


def test_a_section_is_a_table_with_its_own_line():
    said = _said("data.split")
    assert "Shares of lesions per part" in said and "merge_duplicates" in said
    assert "hardcase config explain data.split.train" in said


@pytest.mark.parametrize(
    "section", [key for key in all_keys() if section_at(tuple(key.split("."))) is not None]
)
def test_keys_are_not_broken_at_80_columns(section):
    console = Console(file=io.StringIO(), width=80)
    explain(section, console)
    said = console.file.getvalue()
    for name in section_at(tuple(section.split("."))).model_fields:
        assert re.search(rf"^{name} +│", said, flags=re.MULTILINE), name


def test_a_key_in_a_meaning_is_not_broken_at_80_columns():
    console = Console(file=io.StringIO(), width=80)
    explain("loop", console)
    assert console.file.getvalue().count("max_synthetic_ratio") == 2


def test_images_are_decoded_in_threads():
    assert "threads that decode images" in _said("data.workers")


def test_policy_kind_lists_policies_and_parameters():
    said = _said("policy.mining", Catalogue())
    assert "which cases are hard" in said
    assert "margin: The margin policy." in said and "oracle: The oracle policy." in said
    assert "top_k (int, >= 1, default 64): most cases" in said
    assert "place (text, required): where it lives" in said
    assert _said("policy.mining.name", Catalogue()) == said


def test_one_policy_one_parameter():
    one = _said("policy.mining.margin", Catalogue())
    assert "The margin policy." in one and "oracle" not in one
    everywhere = _said("policy.mining.top_k", Catalogue())
    assert everywhere.count("top_k") == 2
    assert "place" not in _said("policy.mining.oracle.top_k", Catalogue())
    assert "margin" not in _said("policy.mining.place", Catalogue())


def test_the_real_registry_is_the_default():
    said = _said("policy.mining")
    for name in ("misclassified", "margin", "entropy"):
        assert f"\n{name}: " in said
    said = _said("policy.selection")
    assert "which candidates that passed the gates are kept" in said
    assert "\ngradient_alignment: " in said and "drop (float, >= 0, < 1, default 0.25)" in said
    said = _said("policy.query")
    assert "which unlabelled images a reader is asked about" in said
    assert "\nk_center: " in said and "balanced (bool, default false)" in said


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("vea.lr", "vae.lr"),
        ("lr", "classifier.lr"),
        ("data.image_siz", "data.image_size"),
        ("polcy", "did you mean policy"),
        ("data.map_labels.x", "no such key"),
        ("qqqq", "sections: name, seed"),
        ("policy.mining.margn", "did you mean margin"),
        ("policy.mining.zzzzz", "known policies: margin, oracle"),
        ("policy.mining.margin.place", "no such policy or parameter"),
        ("policy.mining.margin.top_k.x", "no such policy or parameter"),
        ("policy.minig", "did you mean policy.mining"),
    ],
)
def test_unknown_keys_get_close_matches(key, message):
    with pytest.raises(ConfigError) as caught:
        _said(key, Catalogue())
    assert key in str(caught.value) and message in str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "whole number"),
        (float | None, "number or null"),
        (Literal["a", "b"], "one of a, b"),
        (Annotated[int, Field(ge=1, le=3)], "whole number >= 1, <= 3"),
        (list[str], "list of text"),
        (tuple[int, int], "list of 2, each a whole number"),
        (dict[str, Any], "mapping of text to anything"),
        (bytes, "bytes"),
    ],
)
def test_types_in_words(annotation, text):
    assert type_text(annotation) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), ((0.0, 1.0), "[0.0, 1.0]"), ({}, "{}"), ("crop", "crop"), (0.9, "0.9")],
)
def test_defaults_are_yaml(value, text):
    assert default_text(value) == text
