"""Which classifier of a run a command uses."""

import json

import pytest

from engine.artifacts import labels
from engine.artifacts.labels import ORACLE, Answer
from engine.commands.finished_run import choose, local, read_report
from engine.config import Config, dump_yaml
from engine.config.loading import parse_config
from engine.errors import DataError


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "demo"
    for name in (
        "rounds/0000",
        "rounds/0001",
        "rounds/0001/arms/real",
        "rounds/0001/arms/mined",
        "rounds/0002/arms/real",
    ):
        (folder / name).mkdir(parents=True)
        (folder / name / "classifier.safetensors").touch()
    (folder / "config.yaml").write_text(dump_yaml(Config()))
    (folder / "stages.json").write_text("{}")
    (folder / "champion.json").write_text(json.dumps({"round": 1, "arm": "hard"}))
    return folder


def test_every_published_classifier_is_found(run):
    (run / "rounds" / "notes").mkdir()
    (run / "rounds" / "notes" / "classifier.safetensors").touch()
    assert choose(run).run.layout.published_arms() == [
        (0, "real"),
        (1, "hard"),
        (1, "mined"),
        (1, "real"),
        (2, "real"),
    ]


@pytest.mark.parametrize(
    ("number", "arm", "found"),
    [
        (None, None, (1, "hard")),
        (0, None, (0, "real")),
        (1, None, (1, "hard")),
        (2, None, (2, "real")),
        (None, "real", (2, "real")),
        (None, "hard", (1, "hard")),
        (1, "mined", (1, "mined")),
    ],
)
def test_the_champion_or_what_is_asked_for(run, number, arm, found):
    chosen = choose(run, number, arm)
    assert (chosen.round, chosen.arm) == found
    assert chosen.weights.is_file()


@pytest.mark.parametrize(("number", "arm"), [(3, None), (None, "random"), (0, "hard")])
def test_what_is_not_there_is_refused_with_what_there_is(run, number, arm):
    with pytest.raises(DataError, match="finished rounds and arms: 0 real, 1 hard, 1 mined, 1 real, 2 real"):
        choose(run, number, arm)


def test_a_run_mined_from_test_is_marked_wherever_it_is_named(run):
    assert choose(run).protocol == "groups_unknown", "no report.json says better"
    (run / "report.json").write_text(json.dumps({"protocol": "safe", "rounds": []}))
    assert (choose(run).protocol, choose(run).marked) == ("safe", "round 1 hard")
    (run / "config.yaml").write_text(dump_yaml(parse_config({"loop": {"mine_from": "test"}})))
    assert (choose(run).protocol, choose(run).marked) == ("leaky", "round 1 hard (LEAKY: mined from test)")


def test_a_run_without_champion_says_so(run):
    (run / "champion.json").unlink()
    with pytest.raises(DataError, match="has no champion yet; give --round and --arm"):
        choose(run)


def test_a_run_without_report_says_so(run):
    with pytest.raises(DataError, match=r"no report.json yet; rerun `hardcase run`"):
        read_report(run)


@pytest.mark.parametrize(
    "text", ["{}", "[]", '{"rounds": {}}', '{"rounds": [1]}', '{"rounds": [{"round": 0}]}']
)
def test_a_report_without_rounds_says_so(run, text):
    (run / "report.json").write_text(text)
    with pytest.raises(DataError, match=r"report\.json: holds no list of rounds; rerun `hardcase run`"):
        read_report(run)


@pytest.mark.parametrize("text", ["{}", "[]", '{"round": 1}', '{"round": "1", "arm": "hard"}'])
def test_a_champion_without_round_and_arm_says_so(run, text):
    (run / "champion.json").write_text(text)
    with pytest.raises(DataError, match=r"champion\.json: names no round and arm; .*--round and --arm"):
        choose(run)
    assert choose(run, 1, "hard").round == 1


def test_commands_start_no_cluster():
    config = parse_config(
        {"backend": {"kind": "ray", "address": "a:1", "train_workers": 4, "device": "cuda", "threads": 3}}
    )
    here = local(config)
    assert (here.backend.kind, here.backend.address, here.backend.train_workers) == ("local", None, 0)
    assert (here.backend.device, here.backend.threads, here.tracking.kind) == ("auto", 3, "none")
    assert local(parse_config({"backend": {"device": "cpu"}})).backend.device == "cpu"


def test_what_an_oracle_labelled_for_is_marked_wherever_it_is_named(run):
    (run / "report.json").write_text(json.dumps({"protocol": "safe", "rounds": []}))
    assert (choose(run).simulated, choose(run).marked) == (False, "round 1 hard")
    labels.append(run, [Answer(image_id="a", reader=ORACLE, dx="nv")])
    assert (choose(run).simulated, choose(run).marked) == (True, "round 1 hard (SIMULATED LABELS)")
    (run / "config.yaml").write_text(dump_yaml(parse_config({"loop": {"mine_from": "test"}})))
    assert choose(run).marked == "round 1 hard (LEAKY: mined from test; SIMULATED LABELS)"
