"""Every artifact: written with all its columns and keys, read back, and refused in one line where it is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic.fields import FieldInfo

import engine.artifacts
from engine.artifacts import labels
from engine.artifacts.catalogue import ARRAYS, RECORDS, TABLES
from engine.artifacts.json_record import JsonRecord
from engine.artifacts.schema import ArraySchema, TableSchema
from engine.errors import DataError
from tests.engine.artifacts.examples import write_everything

FOLDER = {"vae": "generator", "latents": "generator", "denoiser": "generator", "gan": "generator",
          "likelihood": "generator", "every stage": "manifest"}  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_everything(tmp_path_factory.mktemp("artifacts"))


def home(what: TableSchema | ArraySchema | type[JsonRecord], written: dict[str, Path]) -> Path:
    """The folder of an artifact's example: its first stage's, or the run's."""
    stages = what.STAGES if isinstance(what, type) else what.stages
    if isinstance(what, type) and what.__name__ == "RoundEntry":
        return written["run"] / "rounds" / "0001"
    return written[FOLDER.get(stages[0], stages[0]) if stages else "run"]


def refused(read: object, *words: str) -> None:
    with pytest.raises(DataError) as caught:
        read()  # type: ignore[operator]
    text = str(caught.value)
    assert "\n" not in text
    assert "rerun `hardcase run`" in text or labels.SCHEMA.remedy in text
    for word in words:
        assert word in text, text


@pytest.mark.parametrize("schema", TABLES, ids=lambda schema: schema.file)
def test_table_has_every_declared_column(schema: TableSchema, written: dict[str, Path]) -> None:
    frame = schema.read(home(schema, written))
    declared = [c.name for c in schema.columns if not c.per_class]
    assert [name for name in frame.columns if not name.startswith("p_")] == declared
    assert any(c.per_class for c in schema.columns) == any(name.startswith("p_") for name in frame.columns)


@pytest.mark.parametrize("schema", TABLES, ids=lambda schema: schema.file)
def test_table_without_a_column_or_with_another_kind(
    schema: TableSchema, written: dict[str, Path], tmp_path: Path
) -> None:
    table = pq.read_table(home(schema, written) / schema.file)
    for column in schema.columns:
        names = [name for name in table.column_names if column.covers(name)]
        pq.write_table(table.drop(names), tmp_path / schema.file)
        if column.required:
            refused(lambda: schema.read(tmp_path), schema.file, f"lacks column {column.name}")
        else:
            schema.read(tmp_path)
        wrong = pa.array([b"\x00"] * len(table), pa.binary())
        position = table.column_names.index(names[0])
        pq.write_table(table.set_column(position, names[0], wrong), tmp_path / schema.file)
        refused(lambda: schema.read(tmp_path), f"column {names[0]} holds binary, not {column.kind}")


@pytest.mark.parametrize("schema", TABLES, ids=lambda schema: schema.file)
def test_damaged_table(schema: TableSchema, written: dict[str, Path], tmp_path: Path) -> None:
    whole = (home(schema, written) / schema.file).read_bytes()
    refused(lambda: schema.read(tmp_path), schema.file, "is missing")
    for damage in (b"", whole[: len(whole) // 2], b"text" * 99, whole[:40] + b"\xff" * 40 + whole[80:]):
        (tmp_path / schema.file).write_bytes(damage)
        refused(lambda: schema.read(tmp_path), schema.file, "is no readable parquet file")


@pytest.mark.parametrize("schema", ARRAYS, ids=lambda schema: f"{schema.stages[0]}/{schema.file}")
def test_array(schema: ArraySchema, written: dict[str, Path], tmp_path: Path) -> None:
    path = home(schema, written) / schema.file
    array = schema.read(path.parent, mapped=True)
    assert (array.dtype, array.ndim) == (np.dtype(schema.dtype), schema.axes)
    assert not array.flags.writeable
    refused(lambda: schema.read(tmp_path), schema.file, "is missing")
    for damage in (b"", path.read_bytes()[:-1], b"text" * 99):
        (tmp_path / schema.file).write_bytes(damage)
        refused(lambda: schema.read(tmp_path), schema.file, "is no readable array")
    np.save(tmp_path / schema.file, array.astype(np.float64))
    refused(lambda: schema.read(tmp_path), "holds float64", schema.dtype)
    np.save(tmp_path / schema.file, array[0])
    refused(lambda: schema.read(tmp_path), schema.shape)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_record_is_read_as_written(
    record: type[JsonRecord], written: dict[str, Path], tmp_path: Path
) -> None:
    folder = home(record, written)
    text = (folder / record.FILE).read_text()
    found = record.read(folder)
    assert found.file_text() == text
    content = json.loads(text)
    for name, field in record.model_fields.items():
        if field.is_required():
            without = {key: value for key, value in content.items() if key != name}
            (tmp_path / record.FILE).write_text(json.dumps(without))
            refused(lambda: record.read(tmp_path), record.FILE, f"lacks {name}")
    wanted = {name: content[name] for name, field in record.model_fields.items() if field.is_required()}
    (tmp_path / record.FILE).write_text(json.dumps({**wanted, "of_another_version": [1, None]}))
    assert record.read(tmp_path).to_json() == {**wanted, "of_another_version": [1, None]}


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_damaged_record(record: type[JsonRecord], written: dict[str, Path], tmp_path: Path) -> None:
    text = (home(record, written) / record.FILE).read_text()
    refused(lambda: record.read(tmp_path), record.FILE, "is missing")
    for damage in ("", text[: len(text) // 2], "no JSON", "\udcff"):
        (tmp_path / record.FILE).write_bytes(damage.encode(errors="surrogateescape"))
        refused(lambda: record.read(tmp_path), record.FILE, "is no valid JSON")
    for other in ("[1]", "null", '"text"'):
        (tmp_path / record.FILE).write_text(other)
        refused(lambda: record.read(tmp_path), record.FILE, "holds no JSON object")


def test_everything_is_described() -> None:
    fields: list[FieldInfo] = [field for record in RECORDS for field in record.model_fields.values()]
    said = [field.description for field in fields]
    said += [column.meaning for schema in TABLES for column in schema.columns]
    said += [schema.meaning for schema in ARRAYS] + [schema.row for schema in TABLES]
    assert all(said)
    assert all(record.__doc__ for record in RECORDS)


def test_the_package_knows_no_torch() -> None:
    for path in Path(engine.artifacts.__file__).parent.glob("*.py"):
        imports = [
            line.split()[1] for line in path.read_text().splitlines() if line.startswith(("import ", "from "))
        ]
        own = [
            name for name in imports if name.startswith("engine.") and not name.startswith("engine.artifacts")
        ]
        assert set(own) <= {"engine.types", "engine.errors", "engine.artifacts.whole_files"}, path
        assert not {name.split(".")[0] for name in imports} & {"torch", "ray", "mlflow", "policies"}, path
