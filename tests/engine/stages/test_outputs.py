"""What stages declare that they write: every schema is declared by the stages it names, with its columns or keys."""

from __future__ import annotations

import pytest

from engine.artifacts import catalogue, judge, synthesized
from engine.artifacts.accept import AcceptFacts
from engine.artifacts.stage_manifest import StageManifest
from engine.stages import every_stage
from engine.stages.outputs import Entry, File, Folder, entries, file_name, meaning

DECLARED = {stage.name: stage.files for stage in every_stage()}


@pytest.mark.parametrize("name", DECLARED)
def test_every_file_has_a_name_a_meaning_and_described_entries(name: str) -> None:
    names = [file_name(output) for output in DECLARED[name]]
    assert len(names) == len(set(names)) > 0
    assert all(meaning(output) for output in DECLARED[name])
    assert all(entry.meaning for output in DECLARED[name] for entry in entries(output))


def test_schemas_and_stages_name_each_other() -> None:
    written = {(stage, output) for stage, outputs in DECLARED.items() for output in outputs}
    named = {(stage, schema) for schema in (*catalogue.TABLES, *catalogue.ARRAYS) for stage in schema.stages}
    named |= {
        (s, record) for record in catalogue.RECORDS for s in record.STAGES if record is not StageManifest
    }
    assert {(s, o) for s, o in written if not isinstance(o, File | Folder)} == named


def test_a_table_s_columns() -> None:
    assert file_name(judge.SCHEMA) == "oof.parquet"
    assert meaning(judge.SCHEMA) == "one row: one train image"
    assert [(e.name, e.kind) for e in entries(judge.SCHEMA)] == [
        ("image_id", "text"), ("fold", "integer"), ("dx", "text"), ("p_<dx>", "number")
    ]  # fmt: skip


def test_a_record_s_keys_and_those_of_objects_in_it() -> None:
    assert (file_name(AcceptFacts), meaning(AcceptFacts)) == (
        "accept.json", "What the gates did. Undefined figures are null."
    )  # fmt: skip
    names = [entry.name for entry in entries(AcceptFacts)]
    assert names[3:5] == ["per_class", "per_class.<dx>.generated"]
    assert names[-6:] == [
        *(f"memorized.{k}" for k in ("count", "rate", "threshold", "percentile")),
        "judge_temperature",
        "judge_val",
    ]


def test_what_has_no_columns() -> None:
    assert (file_name(Folder("clip", "a model")), meaning(Folder("clip", "a model"))) == ("clip/", "a model")
    assert file_name(File("a.faiss", "an index")) == "a.faiss" and entries(File("a.faiss", "an index")) == ()
    assert meaning(synthesized.IMAGES) == "(S, H, W, 3) uint8: RGB, in the order of conditioning.parquet"


def test_a_column_s_note() -> None:
    notes = {e.name: e for e in entries(DECLARED["split"][0])}
    assert notes["train_set"] == Entry(
        name="train_set", kind="integer", meaning="training set; -1: none", note="only: data.split.train_sets"
    )
    assert notes["group"].note == "since 0.2 (before: the lesion)"
