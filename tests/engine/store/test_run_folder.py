"""The run folder: refuses another config, one writer, roles that outlive the process."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from engine.config import Config, parse_config
from engine.errors import ConfigError, DataError
from engine.store import RunFolder, StageFolder, copy_file, run_folder, write_json, write_text
from engine.store.files import copy_folder, read_json
from engine.store.kept_files import read_config
from engine.store.run_folder import flat_config


def config(tmp_path: Path, **top: object) -> Config:
    return parse_config({"name": "a", "output": str(tmp_path / "runs"), **top})


def test_reopening_with_the_same_config_keeps_the_roles(tmp_path: Path) -> None:
    folder = RunFolder.create(config(tmp_path))
    stage = folder.cache_root / "vae-k"
    stage.mkdir(parents=True)
    write_json(stage / "stage.json", {"seconds": 2.5, "files": {}})
    folder.record("foundation/vae", StageFolder(name="vae", key="k", path=stage, seconds=2.5, cached=False))
    again = RunFolder.create(config(tmp_path))
    assert again.stage("foundation/vae").seconds == 2.5
    assert RunFolder.open(folder.path).stage("foundation/vae").key == "k"
    line = json.loads((folder.path / "stages.jsonl").read_text())
    assert line == {"role": "foundation/vae", "stage": "vae", "key": "k", "ran": True, "seconds": 2.5}


def finish_a_round(folder: RunFolder) -> None:
    (folder.path / "rounds" / "0000").mkdir(parents=True)


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({}, {"loop": {"rounds": 3}}, "loop.rounds (2 there, 3 now)"),
        (
            {},
            {"data": {"map_labels": {"akiec": None}}},
            "data.map_labels ({} there, {'akiec': None} now)",
        ),
        (
            {"data": {"map_labels": {"a": None}}},
            {"data": {"map_labels": {"a": None, "b": None}}},
            "data.map_labels ({'a': None} there, {'a': None, 'b': None} now)",
        ),
        (
            {},
            {"policy": {"mining": {"name": "margin", "top_k": 3}}},
            "policy.mining ({'name': 'misclassified'} there, {'name': 'margin', 'top_k': 3} now)",
        ),
        ({}, {"data": {"split": {"folds": {"use": 1}}}}, "data.split.folds.use (None there, 1 now)"),
    ],
)
def test_another_config_under_the_name_is_refused_with_whole_values(
    tmp_path: Path, before: dict[str, object], now: dict[str, object], said: str
) -> None:
    folder = RunFolder.create(config(tmp_path, **before))
    finish_a_round(folder)
    kept = (folder.path / "config.yaml").read_text()
    with pytest.raises(ConfigError) as caught:
        RunFolder.create(config(tmp_path, **now))
    assert said in str(caught.value) and "give name=OTHER" in str(caught.value)
    assert (folder.path / "config.yaml").read_text() == kept


@pytest.mark.parametrize(
    ("now", "said"),
    [({}, None), ({"data": {"unlabelled": "keep"}}, "data.unlabelled ('refuse' there, 'keep' now)")],
)
def test_a_key_that_is_younger_than_the_run_had_its_default(
    tmp_path: Path, now: dict[str, object], said: str | None
) -> None:
    folder = RunFolder.create(config(tmp_path))
    finish_a_round(folder)
    file = folder.path / "config.yaml"
    kept = [line for line in file.read_text().splitlines() if "unlabelled: refuse" not in line]
    assert len(kept) < len(file.read_text().splitlines())
    file.write_text("\n".join(kept))
    if said is None:
        RunFolder.create(config(tmp_path))
    else:
        with pytest.raises(ConfigError, match=re.escape(said)):
            RunFolder.create(config(tmp_path, **now))


@pytest.mark.parametrize("report", [None, {"rounds": []}])
def test_a_run_that_finished_no_round_takes_another_config(tmp_path: Path, report: object) -> None:
    folder = RunFolder.create(config(tmp_path))
    folder.record("foundation/vae", StageFolder(name="vae", key="k", path=tmp_path, seconds=1, cached=True))
    write_json(folder.path / "mlflow.json", {"run_id": "1"})
    if report is not None:
        write_json(folder.path / "report.json", report)
    other = config(tmp_path, data={"map_labels": {"akiec": None}})
    again = RunFolder.create(other)
    assert again.roles == {}
    assert not (folder.path / "stages.json").exists() and not (folder.path / "mlflow.json").exists()
    again.record("foundation/vae", StageFolder(name="vae", key="l", path=tmp_path, seconds=1, cached=True))
    assert RunFolder.open(folder.path).config == other


@pytest.mark.parametrize(
    "name", ["report.json", "journal.jsonl"], ids=["rounds in the report", "the journal of a sweep"]
)
def test_results_keep_their_config(tmp_path: Path, name: str) -> None:
    folder = RunFolder.create(config(tmp_path))
    write_json(folder.path / name, {"schema_version": 2, "rounds": [{"round": 0, "arm": "real"}]})
    with pytest.raises(ConfigError, match=r"loop\.rounds"):
        RunFolder.create(config(tmp_path, loop={"rounds": 3}))


def test_a_run_that_is_being_written_takes_no_other_config(tmp_path: Path) -> None:
    folder = RunFolder.create(config(tmp_path))
    kept = (folder.path / "config.yaml").read_text()
    lock = folder.lock()
    with pytest.raises(ConfigError, match="another hardcase process"):
        RunFolder.create(config(tmp_path, loop={"rounds": 3}))
    lock.release()
    assert (folder.path / "config.yaml").read_text() == kept
    RunFolder.create(config(tmp_path, loop={"rounds": 3})).lock().release()


def test_of_two_runs_that_made_the_folder_at_once_one_begins(tmp_path: Path) -> None:
    """Both saw no folder; the second wrote its config over the first's before either held the lock."""
    first = RunFolder.create(config(tmp_path))
    second = RunFolder.create(config(tmp_path, loop={"rounds": 3}))
    with pytest.raises(
        ConfigError, match=r"at the same time, with another config \(.*loop\.rounds.*\); give name=OTHER"
    ):
        first.begin()
    second.begin().release()


def test_where_it_runs_may_change(tmp_path: Path) -> None:
    first = config(tmp_path)
    second = config(tmp_path, backend={"kind": "ray", "map_workers": 2}, tracking={"kind": "none"})
    RunFolder.create(first)
    RunFolder.create(second)
    assert flat_config(first) == flat_config(second)


def test_one_writer_a_run(tmp_path: Path) -> None:
    folder = RunFolder.create(config(tmp_path))
    lock = folder.lock()
    with pytest.raises(ConfigError, match="another hardcase process"):
        RunFolder.create(config(tmp_path)).lock()
    lock.release()
    RunFolder.create(config(tmp_path)).lock().release()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_that_is_not_writable_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir(mode=0o500)
    with pytest.raises(DataError, match="output"):
        RunFolder.create(config(tmp_path))


def test_an_output_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(DataError, match=r"output: .*runs is not writable"):
        RunFolder.create(config(tmp_path))


def test_a_url_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="shared or mounted disk"):
        RunFolder.create(parse_config({"output": "gs://bucket/runs"}))


def test_opening_something_else_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no run folder"):
        RunFolder.open(tmp_path)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("nonsense: 1\n", ["nonsense: unknown key", "another version", "name=OTHER"]),
        ("loop: {rounds: many}\n", ["loop.rounds", "'many'", "another version"]),
        ("a: [\n", ["not valid YAML", "another version"]),
        ("a: 2024-99-99\nb: 0b_\n", ["cannot read"]),
        ("- a\n", ["found list"]),
        ("", ["is empty", "remove the folder"]),
    ],
)
def test_a_broken_config_of_a_run_is_a_message_of_ours(tmp_path: Path, text: str, parts: list[str]) -> None:
    write_text(tmp_path / "config.yaml", text)
    with pytest.raises(DataError) as caught:
        RunFolder.open(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'config.yaml'}: ") and all(p in message for p in parts), message
    assert "pydantic" not in message


@pytest.mark.parametrize("text", ["a: [", "- a"])
def test_a_broken_config_is_not_written_over(tmp_path: Path, text: str) -> None:
    folder = RunFolder.create(config(tmp_path))
    write_text(folder.path / "config.yaml", text)
    with pytest.raises(DataError, match=r"config\.yaml: .*name=OTHER"):
        RunFolder.create(config(tmp_path))


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("champion.json", "{}", "names no round and arm"),
        ("champion.json", "[]", "names no round and arm"),
        ("champion.json", '{"round": "1", "arm": "hard"}', "names no round and arm"),
        ("champion.json", "{", "no valid JSON"),
        ("stages.json", "[]", "holds no stages"),
        ("stages.json", "{", "no valid JSON"),
    ],
)
def test_a_broken_file_of_a_run_is_named_with_the_remedy(
    tmp_path: Path, name: str, text: str, part: str
) -> None:
    folder = RunFolder.create(config(tmp_path))
    write_json(folder.path / "stages.json", {})
    write_text(folder.path / name, text)
    with pytest.raises(DataError) as caught:
        RunFolder.open(folder.path).champion()
    message = str(caught.value)
    assert (
        message.startswith(str(folder.path / name)) and part in message and "remove it and rerun" in message
    )


def test_an_unfinished_run_and_an_unknown_role_and_a_lost_cache_say_so(tmp_path: Path) -> None:
    folder = RunFolder.create(config(tmp_path))
    with pytest.raises(DataError, match="not finished a stage"):
        RunFolder.open(folder.path)
    folder.record("foundation/vae", StageFolder(name="vae", key="k", path=tmp_path, seconds=1, cached=True))
    with pytest.raises(DataError, match="known: foundation/vae"):
        folder.stage("foundation/judge")
    with pytest.raises(DataError, match=r"cache .* is gone"):
        folder.stage("foundation/vae")
    with pytest.raises(DataError, match="no champion"):
        folder.champion()


def test_published_folders_follow_the_contract(tmp_path: Path) -> None:
    folder = RunFolder.create(config(tmp_path))
    rounds = folder.path / "rounds"
    assert folder.arm_folder(0, "real") == rounds / "0000"
    assert folder.arm_folder(1, "hard") == rounds / "0001"
    assert folder.arm_folder(1, "real") == rounds / "0001" / "arms" / "real"


def test_writes_are_whole_or_absent(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"value": float("nan")})
    assert list(tmp_path.iterdir()) == []
    write_json(tmp_path / "a.json", {"value": None})
    copy_file(tmp_path / "a.json", tmp_path / "b" / "a.json")
    copy_folder(tmp_path / "b", tmp_path / "c")
    copy_folder(tmp_path / "b", tmp_path / "c")
    assert read_json(tmp_path / "c" / "a.json") == {"value": None}
    with pytest.raises(DataError, match=r"nowhere\.json"):
        read_json(tmp_path / "nowhere.json")


def test_a_trial_shares_its_sweeps_cache_and_only_a_trial_does(tmp_path: Path) -> None:
    sweep = tmp_path / "runs" / "sweep"
    trial = RunFolder.create(config(tmp_path, name="0001", output=str(sweep / "trials")))
    assert trial.cache_root == sweep / "trials" / "stages"
    (sweep / "journal.jsonl").touch()
    assert trial.cache_root == tmp_path / "runs" / "stages"


def test_of_two_that_begin_a_run_at_once_the_second_finds_the_first_ones_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (config(tmp_path, seed=seed) for seed in (1, 2))
    ensure, looked = run_folder.ensure_writable, []

    def writable(path: Path, *rest: str) -> None:
        ensure(path, *rest)
        if path.name == "a" and not looked:  # the second has seen no config.yaml; now the first begins
            looked.append(path)
            RunFolder.create(first).begin().release()

    monkeypatch.setattr(run_folder, "ensure_writable", writable)
    with pytest.raises(ConfigError, match=r"another process began a run of this name at the same time.*seed"):
        RunFolder.create(second)
    assert read_config(tmp_path / "runs" / "a" / "config.yaml").seed == 1
    RunFolder.create(first).begin().release()


def test_a_copy_of_a_folder_that_is_written_leaves_half_written_files_out(tmp_path: Path) -> None:
    run, target = tmp_path / "run", tmp_path / "out"
    for name in ("a", ".hardcase.json", ".b.partial"):
        (run / "sub").mkdir(parents=True, exist_ok=True)
        (run / "sub" / name).write_text(name)
    copy_folder(run, target)
    (run / "sub" / "a").write_text("new")
    copy_folder(run, target)
    assert {p.name: p.read_text() for p in (target / "sub").iterdir()} == {
        "a": "new",
        ".hardcase.json": ".hardcase.json",
    }
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "run"]
