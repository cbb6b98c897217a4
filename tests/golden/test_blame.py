"""Who is blamed for digests that are not the pinned ones."""

from __future__ import annotations

from typing import Any

from tests.golden.blame import blame
from tests.golden.outputs import kept


def record(stage: str, version: int = 1, inputs: str = "i", output: str = "o") -> dict[str, Any]:
    return {"stage": stage, "version": version, "inputs": inputs, "output": output}


PINNED = {
    "foundation/vae": record("vae", 3),
    "foundation/latents": record("latents"),
    "foundation/judge": record("judge"),
}


def test_equal_records_blame_nobody() -> None:
    assert blame(PINNED, PINNED) == []


def test_another_output_of_the_same_version_is_blamed_and_what_reads_it_is_not() -> None:
    found = {
        **PINNED,
        "foundation/vae": record("vae", 3, output="p"),
        "foundation/latents": record("latents", inputs="j", output="p"),
    }
    assert blame(PINNED, found) == [
        "stage vae: its output changed but its version is still 3: raise its `version` in engine/stages, "
        "then run `python -m tests.golden.write` (in foundation/vae)"
    ]


def test_a_raised_version_asks_for_new_files_whether_or_not_the_output_changed() -> None:
    line = "stage vae: its version rose from 3 to 4: run `python -m tests.golden.write` (in foundation/vae)"
    for output in ("o", "p"):
        assert blame(PINNED, {**PINNED, "foundation/vae": record("vae", 4, output=output)}) == [line]


def test_a_version_never_falls() -> None:
    found = {**PINNED, "foundation/vae": record("vae", 2)}
    assert blame(PINNED, found) == [
        "stage vae: its version fell from 3 to 2; a version only rises (in foundation/vae)"
    ]


def test_a_stage_in_several_roles_is_blamed_once() -> None:
    pinned = {"rounds/0000/real/pool": record("pool"), "rounds/0001/hard/pool": record("pool")}
    found = {role: record("pool", output="p") for role in pinned}
    (line,) = blame(pinned, found)
    assert line.endswith("(in rounds/0000/real/pool, rounds/0001/hard/pool)")


def test_two_stages_that_changed_are_both_blamed() -> None:
    found = {role: {**r, "output": "p"} for role, r in PINNED.items() if r["stage"] != "latents"}
    stages = [line.split(":")[0] for line in blame(PINNED, {**PINNED, **found})]
    assert stages == ["stage judge", "stage vae"]


def test_other_params_blame_nobody_but_are_named() -> None:
    found = {**PINNED, "foundation/vae": record("vae", 3, inputs="j", output="p")}
    assert blame(PINNED, found) == [
        "what foundation/vae read differs, but no stage's own output: if meant, run `python -m tests.golden.write`"
    ]


def test_roles_that_came_or_went_are_named() -> None:
    found = {**PINNED, "foundation/gan": record("gan")}
    del found["foundation/judge"]
    assert blame(PINNED, found) == [
        "role foundation/judge is pinned but was not played: run `python -m tests.golden.write`",
        "role foundation/gan is new: run `python -m tests.golden.write`",
    ]


def test_numbers_in_json_are_held_to_nine_digits() -> None:
    assert kept({"a": [1.0000003667282649]}) == kept({"a": [1.000000366728265]})
    assert kept({"a": 1.00000001}) != kept({"a": 1.00000002})
