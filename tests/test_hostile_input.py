"""Attacks that would do harm, by kind: each is refused in one line, or what it names stays harmless.

Kinds that have their tests elsewhere:

- model folders with pickles or code: tests/engine/config/test_safe_weights.py
- aliases that multiply, tags and endless nesting in YAML: tests/engine/artifacts/test_yaml_text.py
- tables, .npz and idx files that lie or are damaged, object arrays: tests/engine/data/readers/test_damaged_files.py
- decompression bombs and damaged photographs, pipes and devices: tests/engine/data/test_decoding.py
- paths in tables that lead elsewhere: tests/engine/data/readers/test_places.py
- hosts, origins, tokens and paths of requests: tests/engine/review/test_access.py
- formulas in CSV: tests/engine/artifacts/test_csv_text.py; markup in Markdown: tests/engine/artifacts/test_markdown_text.py
- escape sequences on a terminal, markup of rich: tests/engine/execution/test_console.py
- HTML: tests/engine/report/test_run_page.py, tests/engine/review/test_browser.py, tests/engine/review/test_watching.py
- names of readers: tests/engine/review/test_small_parts.py
- names that begin formulas, marks in photographs and passwords through a whole run: tests/integration/test_what_leaves.py
- secrets of addresses: tests/engine/artifacts/test_secrets.py
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import re
import shlex
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from typer.testing import CliRunner

import engine
from engine import cli
from engine.artifacts import predictions, run_stages, synthetic
from engine.artifacts.decoded_images import IMAGES
from engine.artifacts.json_record import json_value
from engine.artifacts.own_output import is_own
from engine.artifacts.promises import MOST_CELLS
from engine.artifacts.run_files import read_run
from engine.checked_config import load
from engine.classifier.model import HEADER
from engine.classifier.weights import load_classifier
from engine.commands.layout import recognise
from engine.config.safe_weights import unsafe_reason
from engine.data.readers.array_files import read_npz
from engine.data.readers.rows import read_rows
from engine.errors import HardcaseError
from engine.report.pictures import picture
from engine.retrieval.clip import copy_pretrained
from engine.store.files import read_json
from engine.tracking.confusion import confusion_png
from engine.tracking.flatten import metric_name, metrics, parameters
from engine.tracking.outbox import Entry, Outbox
from engine.tracking.registry import register
from engine.tracking.run_log import RunLog
from engine.tracking.sender import RefusedError
from tests.engine.data.layouts import picture as pixels
from tests.engine.data.layouts import png_of, save

ROOT = Path(engine.__file__).parent
DEEP = "[" * 200_000
"""Beyond what Python's parser of JSON can follow."""


def refused(work: Callable[[], object]) -> str:
    """Return what an attack was told: one line."""
    with pytest.raises(HardcaseError) as caught:
        work()
    assert caught.value.exit_code == 2
    message = str(caught.value)
    assert len(message.splitlines()) == 1 and len(message) < 700, message[:2000]
    return message


class Canary:
    """Unpickled it touches a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.system, (f"touch {shlex.quote(str(self.path))}",)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP image tower as others save it, 8 wide; beside it a pickle under the name of older weights."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    size = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    folder = tmp_path_factory.mktemp("clip")
    CLIPVisionModel(CLIPVisionConfig(**size, image_size=16, patch_size=8)).save_pretrained(folder)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Canary(folder / "ran")))
    return folder


def test_a_pickle_beside_safetensors_is_never_opened(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("opened a pickle"))
    assert copy_pretrained(str(clip), tmp_path / "copy")["width"] == 8
    assert not (clip / "ran").exists()


@pytest.mark.parametrize("shard", ["pytorch_model.bin", "weights", "../model.safetensors", "a/b.safetensors"])
def test_an_index_of_safetensors_that_names_something_else(clip: Path, tmp_path: Path, shard: str) -> None:
    """transformers and diffusers open with torch.load whatever an index names."""
    folder = tmp_path / "clip"
    folder.mkdir()
    for path in clip.iterdir():
        (folder / path.name.replace("model.s", "other.s")).write_bytes(path.read_bytes())
    with_safetensors = json.dumps({"metadata": {}, "weight_map": {"a": "other.safetensors", "b": shard}})
    (folder / "model.safetensors.index.json").write_text(with_safetensors)
    message = refused(lambda: copy_pretrained(str(folder), tmp_path / "copy"))
    assert shard in message and "index.json" in message and "save the model again" in message
    result = CliRunner().invoke(
        cli.app, ["run", str(ROOT / "configs" / "demo.yaml"), f"embedder.pretrained={folder}", f"output={tmp_path}/runs"]
    )  # fmt: skip
    assert result.exit_code == 2 and shard in result.stderr
    assert not (clip / "ran").exists() and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("name", "facts", "said"),
    [
        ("config.json", {"transformers_weights": "adapter_model.bin"}, "remove this key"),
        ("adapter_config.json", {"base_model_name_or_path": "/elsewhere"}, "names another model to load"),
    ],
)
def test_a_folder_that_names_other_weights(
    tmp_path: Path, name: str, facts: dict[str, str], said: str
) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / name).write_text(json.dumps(facts))
    assert said in unsafe_reason(tmp_path) and name in unsafe_reason(tmp_path)


@pytest.mark.parametrize(
    "header",
    [DEEP, "no JSON", "[]", "{}", '{"mean": [0,0,0], "std": [1,1,1]}',
     '{"mean":[0,0,0],"std":[1,1,1],"model":"local-dir:/evil","classes":"ab","image_size":8,"stem":"library"}'],
    ids=["deep", "text", "list", "empty", "half", "text for classes"],
)  # fmt: skip
def test_headers_of_weights(tmp_path: Path, header: str) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors", metadata={HEADER: header})
    assert "w.safetensors" in refused(lambda: load_classifier(tmp_path / "w.safetensors"))


def test_nothing_in_the_engine_parses_json_or_yaml_by_itself() -> None:
    """Whatever is deep, huge, multiplied or tagged is refused in one place."""
    for path in sorted(ROOT.rglob("*.py")):
        name, text = path.relative_to(ROOT).as_posix(), path.read_text()
        if name != "artifacts/json_text.py":
            assert not re.search(r"\bjson\.loads?\b", text), name
        if name not in ("artifacts/yaml_text.py", "tracking/registry.py"):  # the latter reads what it wrote
            assert not re.search(r"\byaml\.\w*load", text), name


@pytest.mark.parametrize("text", [DEEP, '{"a":' * 100_000, '{"a": ' + "9" * 5000 + "}"])
def test_json_that_is_deep_or_huge(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    for read in (json_value, read_json):
        assert "x.json" in refused(lambda read=read: read(path))
    (tmp_path / ".hardcase.json").write_text(text)
    (tmp_path / "stage.json").write_text(text)
    assert not is_own(tmp_path), "a folder of data is listed whatever such a file in it holds"


@pytest.mark.parametrize("number", ["0x" + "f" * 10_000, "0b" + "1" * 99_999, ":".join("1" * 3000), "9" * 99])
def test_numbers_in_yaml_that_nothing_can_print(tmp_path: Path, number: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"seed: {number}\n")
    assert "more than 64" in refused(lambda: load(path))
    path.write_text("")
    for key in ("loop.rounds", "data.split.train", "name"):
        assert "more than 64" in refused(lambda key=key: load(path, [f"{key}={number}"]))


def test_a_long_value_is_not_repeated_whole(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(f"seed: {'x' * 1_000_000}\n")
    with pytest.raises(HardcaseError) as caught:
        load(tmp_path / "c.yaml")
    assert "seed" in str(caught.value) and len(str(caught.value)) < 1000


def varint(number: int) -> bytes:
    """A number as parquet's footer writes it: zigzag, seven bits a byte."""
    number, digits = 2 * number, b""
    while number > 127:
        digits, number = digits + bytes([number & 127 | 128]), number >> 7
    return digits + bytes([number])


def with_rows(path: Path, real: int, promised: int) -> None:
    """Let the footer of a parquet file promise another number of rows."""
    content = path.read_bytes()
    size = int.from_bytes(content[-8:-4], "little")
    footer = content[-8 - size : -8].replace(varint(real), varint(promised))
    path.write_bytes(content[: -8 - size] + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    assert pq.read_metadata(path).num_rows == promised


def test_a_parquet_footer_that_promises_a_million_million_rows(tmp_path: Path) -> None:
    rows = 70_001
    table = tmp_path / "t.parquet"
    pq.write_table(pa.table({"image": ["a"] * rows, "dx": ["nv"] * rows}), table)
    with_rows(table, rows, 10**12)
    assert table.stat().st_size < 10_000
    assert "promises 1,000,000,000,000 rows" in refused(lambda: read_rows(table))
    ours = tmp_path / predictions.SCHEMA.file
    frame = pd.DataFrame({"image_id": ["a"] * rows, "split": "val", "dx": "nv", "p_nv": 1.0})
    pq.write_table(pa.Table.from_pandas(frame), ours)
    with_rows(ours, rows, 10**12)
    assert "promises 1,000,000,000,000 rows" in refused(lambda: predictions.SCHEMA.read(tmp_path))


def test_kilobytes_of_parquet_that_hold_millions_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    equal = pa.DictionaryArray.from_arrays(pa.array(np.zeros(10**6, dtype=np.int8)), pa.array(["a"]))
    table = pa.table({"image": equal, "dx": equal})
    with pq.ParquetWriter(path, table.schema, compression="zstd", store_schema=False) as writer:
        for _ in range(MOST_CELLS // 2 // 10**6 + 1):
            writer.write_table(table)
    assert path.stat().st_size < 1_000_000
    assert "cells" in refused(lambda: read_rows(path))


def test_kilobytes_of_parquet_that_hold_one_text_of_megabytes(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(
        pa.table({"image": ["a" * 30_000_000] * 3, "dx": ["x", "y", "z"]}), path, compression="zstd"
    )
    assert path.stat().st_size < 10_000
    assert "column image holds a text of 30,000,000 bytes" in refused(lambda: read_rows(path))


@pytest.mark.parametrize(
    ("pack", "kind"),
    [(gzip.compress, "gzip"), (bz2.compress, "bzip2"), (lzma.compress, "xz"), (None, "zip")],
    ids=["gz", "bz2", "xz", "zip"],
)
def test_a_packed_csv_is_never_unpacked(
    tmp_path: Path, pack: Callable[[bytes], bytes] | None, kind: str
) -> None:
    content = b"image,dx\n" + b"a,b\n" * 100_000
    if pack is None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("t.csv", content)
    packed = buffer.getvalue() if pack is None else pack(content)
    for name in ("t.csv", "t.tsv", f"t.csv.{kind}"):
        (tmp_path / name).write_bytes(packed)
        assert f"packed ({kind})" in refused(lambda name=name: read_rows(tmp_path / name))


def npy(shape: tuple[int, ...], descr: str = "|u1") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(
    "content",
    [npy((10**12, 8, 8, 3)), npy((10**10,)), npy((2,), "|O") + bytes(16),
     b"\x93NUMPY\x01\x00\x10\x00{'descr': '((((\n", b"\x93NUMPY\x02\x00\xff\xff\xff\xffx", b""],
    ids=["huge", "10 GB", "objects", "no header", "long header", "empty"],
)  # fmt: skip
def test_arrays_of_a_run_folder(tmp_path: Path, content: bytes, mapped: bool) -> None:
    (tmp_path / IMAGES.file).write_bytes(content)
    assert IMAGES.file in refused(lambda: IMAGES.read(tmp_path, mapped=mapped))


def test_two_arrays_of_one_name_of_which_one_lies(tmp_path: Path) -> None:
    """numpy opens the one without .npy, a check of the other says nothing about it."""
    honest = io.BytesIO()
    np.save(honest, np.zeros((2, 28, 28), np.uint8))
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("train_images", npy((2**33,)))
        archive.writestr("train_images.npy", honest.getvalue())
    assert "two arrays of one name" in refused(lambda: read_npz(tmp_path / "x.npz", ("train_images",)))


def test_a_picture_of_a_run_folder_that_unpacks_to_gigabytes_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png_of(40_000, 40_000))
    assert picture(tmp_path / "x.png", 64) is None


def test_a_link_among_photographs_shows_nothing_of_what_it_leads_to(tmp_path: Path) -> None:
    """Links to images are followed, for many keep data sets that way; anything else is no image."""
    (tmp_path / "private").write_text("s3cret")
    for number, dx in enumerate(["a"] * 6 + ["b"] * 6):
        save(tmp_path / "data" / dx / f"{number}.png", pixels(number))
    (tmp_path / "data" / "a" / "x.png").symlink_to(tmp_path / "private")
    config = tmp_path / "c.yaml"
    config.write_text(
        f"data: {{format: folder, root: {tmp_path / 'data'}, image_size: 16}}\noutput: {tmp_path}/r"
    )
    result = CliRunner().invoke(cli.app, ["run", str(config)])
    assert result.exit_code == 2 and "x.png" in result.stderr and "s3cret" not in result.output


@pytest.mark.parametrize("place", ["rounds", "report.html", "rounds/0001/synthetic/x.png"])
def test_a_run_folder_with_a_link_out_of_it(tmp_path: Path, place: str) -> None:
    """A folder that somebody sent: what is written there would land elsewhere, what is shown would come from elsewhere."""
    run, elsewhere = tmp_path / "runs" / "run", tmp_path / "elsewhere"
    (run / place).parent.mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("kept")
    (run / "config.yaml").write_text("name: run\n")
    (run / "report.json").write_text("{}")
    (run / place).symlink_to(elsewhere if place == "rounds" else elsewhere / "kept")
    demo = str(ROOT / "configs" / "demo.yaml")
    for command in (["report", str(run)], ["export", "data", str(run), "--out", str(tmp_path / "out")],
                    ["run", demo, f"output={tmp_path / 'runs'}", "name=run"]):  # fmt: skip
        result = CliRunner().invoke(cli.app, command)
        assert result.exit_code == 2 and place in result.stderr and "outside the run folder" in result.stderr
    assert [path.name for path in elsewhere.iterdir()] == ["kept"]
    (run / place).unlink()
    (run / "inside.json").symlink_to(run / "report.json")
    assert "outside the run folder" not in CliRunner().invoke(cli.app, ["report", str(run)]).stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 10)}]\n" for n in range(9)), "stand for more"),
     ("name: !!python/object/apply:os.system [touch ran]\n", "tags are not allowed"), ("- a\n", "no keys and values")],
    ids=["aliases", "tag", "list"],
)  # fmt: skip
def test_the_config_of_a_run_folder(
    tmp_path: Path, text: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(text)
    report = {
        "schema_version": 2,
        "protocol": "safe",
        "split_digest": "s",
        "config_digest": "c",
        "rounds": [],
    }
    (run / "report.json").write_text(json.dumps(report))
    assert said in refused(lambda: read_run(run))
    result = CliRunner().invoke(cli.app, ["report", str(run)])
    assert result.exit_code == 2 and "config.yaml" in result.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a\\b", "..", "a\0b"])
def test_ids_and_roles_of_a_run_folder_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    """Ids become names of files: `hardcase export data` would write where they say."""
    frame = pd.DataFrame({c.name: ["0"] for c in synthetic.SCHEMA.columns if c.required}).assign(
        sample_id=name
    )
    frame.to_parquet(tmp_path / synthetic.SCHEMA.file)
    columns = ["sample_id"]
    assert "no plain name" in refused(lambda: synthetic.SCHEMA.read(tmp_path, columns))
    (tmp_path / run_stages.ROLES).write_text(json.dumps({"foundation/vae": name}))
    if name not in ("a\\b", "a\0b"):
        assert run_stages.ROLES in refused(lambda: run_stages.read(tmp_path))


class Untouched:
    """A client that must not be asked for anything."""

    def __getattr__(self, name: str) -> Any:
        pytest.fail(f"sent {name}")


def test_calls_kept_in_a_run_folder_send_and_remove_nothing_outside_it(tmp_path: Path) -> None:
    run, home = tmp_path / "runs" / "run", tmp_path / "home"
    for folder in (run / "rounds", home):
        folder.mkdir(parents=True)
    for name in ("MLmodel", "diary.json"):
        (home / name).write_text("private")
    state = {"tracking_uri": "sqlite:///a.db", "experiment": "e", "run_key": "0" * 32, "rounds": {}, "run_id": "r",
             "experiment_id": "1", "champions": {"d": {"model_id": "m"}}}  # fmt: skip
    (run / "mlflow.json").write_text(json.dumps(state))
    log = RunLog(client=Untouched(), entities=None, run_folder=run, uri="sqlite:///a.db", experiment="e")
    report = {"round": 0, "arm": "real"}
    for folder in ("../../home", str(home)):
        with pytest.raises(RefusedError, match="does not lie in the run folder"):
            log.send(Entry(call="log_round", key="k", arguments={"report": report, "folder": folder}))
    for model in ("../../home", str(home), ".", "rounds", "tracking_outbox"):
        for digest in ("d", "new"):
            with pytest.raises(RefusedError, match=r"does not lie in the run folder|is no exported model"):
                register(log, champion=report, digest=digest, model=model)
    with pytest.raises(RefusedError, match="no call"):
        log.send(Entry(call="__init__", key="k", arguments={}))
    assert sorted(path.name for path in home.iterdir()) == ["MLmodel", "diary.json"] and run.is_dir()


def test_kept_calls_that_are_none_are_passed_over(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.put(Entry(call="finish", key="finish", arguments={"status": "FINISHED"}))
    whole = outbox.entries()
    lines = (
        DEEP,
        '{"call": 1, "key": [], "arguments": {}}',
        '{"call": "a", "key": "b", "arguments": []}',
        "7",
    )
    with (outbox.folder / "calls.jsonl").open("a") as log:
        log.writelines(f"{line}\n" for line in lines)
    assert outbox.entries() == whole


def test_ids_of_another_ones_mlflow_json_reach_no_filter(tmp_path: Path) -> None:
    state = {"tracking_uri": "u", "experiment": "e", "run_key": "' or tags.x != '", "rounds": {}}
    (tmp_path / "mlflow.json").write_text(json.dumps(state))
    log = RunLog(client=None, entities=None, run_folder=tmp_path, uri="u", experiment="e")
    assert re.fullmatch("[0-9a-f]{32}", log.state()["run_key"])


NAMES = (
    "..",
    ".",
    "a/../b",
    "a//b",
    "a/",
    "/a",
    "$(touch x)",
    "a\nb",
    "x" * 400,
    "\x1b[2J",
    "a\0b",
    "\ud800",
    "",
)


@given(name=st.sampled_from(NAMES) | st.text(st.sampled_from("./_ a-$é\x00") | st.characters(), max_size=260))
@settings(max_examples=300, deadline=None)
def test_mlflow_takes_every_name_and_value(name: str) -> None:
    """One that it refused would lose all figures of its round, and a null character would stop all calls for ever."""
    from mlflow.utils.validation import _validate_metric_name, _validate_param

    _validate_metric_name(metric_name(f"test/sensitivity/{name}"))
    for key, value in parameters({"data": {"malignant": name, "classes": {name: name}}}).items():
        _validate_param(key, value)
        assert "\0" not in value
        value.encode()


def test_classes_that_mlflow_cannot_tell_apart_keep_their_figures() -> None:
    per_class = {
        dx: {"sensitivity": {"value": value}} for dx, value in (("a+", 0.1), ("a=", 0.9), ("nv", 0.5))
    }
    flat = metrics({"round": 1, "test": {"per_class": per_class}})
    assert flat["test/sensitivity/nv"] == 0.5
    assert sorted(flat.values()) == [0.1, 0.5, 0.9]


@pytest.mark.parametrize("names", [["$\\frac{$", "$x$"], ["a\x1b[2J", "b\0"], ["$", "$$"]])
def test_class_names_are_no_formulas_to_draw(names: list[str]) -> None:
    """An error here would keep every later call from the server."""
    assert confusion_png(names, [[1, 0], [0, 1]], "$\\bad$").startswith(b"\x89PNG")


def test_a_file_name_that_a_shell_would_run_is_one_word_of_the_command_to_paste(tmp_path: Path) -> None:
    """Of a data set that somebody sent; `hardcase init` prints what to type next."""
    truth = tmp_path / "x;$(touch ran)`touch ran`'&_GroundTruth.csv"
    truth.write_text("image,MEL,NV\nISIC_1,1.0,0.0\nISIC_2,0.0,1.0\n")
    message = refused(lambda: recognise(tmp_path))
    command = message[message.index("hardcase init") :]
    assert shlex.split(command) == ["hardcase", "init", str(truth), "--images", "DIR"]


def test_commands_to_paste_quote_what_they_name() -> None:
    bare = re.compile(  # a value in braces that is not quoted there
        r"hardcase (?:run|report|review|watch|label|query|predict|init|data \w+)\b[^`\"]*?\{(?!shlex)"
    )
    harmless = {
        "tuning/results.py",  # the name of a file of ours
        "commands/label_command.py",  # quoted in the line before
        "commands/query_command.py",
    }
    for path in sorted(ROOT.rglob("*.py")):
        if path.relative_to(ROOT).as_posix() not in harmless:
            found = [line for line in path.read_text().splitlines() if bare.search(line)]
            assert not found, (path, found)
