"""The paired difference between two classifiers on the same test lesions."""

import io
import json

import pandas as pd
import pytest
import yaml
from rich.console import Console

from engine.commands.compare_command import compare, points
from engine.commands.finished_run import choose
from engine.commands.paired_differences import paired_differences
from engine.config import Config, dump_yaml, read_tree
from engine.errors import ConfigError, DataError

TRUTH = ["mel", "mel", "nv", "nv", "nv", "nv"]


def make_run(path, right, ids="abcdef"):
    """A run folder whose champion gives the true class 0.9 where ``right`` is 1."""
    folder = path / "rounds" / "0000"
    folder.mkdir(parents=True)
    p_true = [0.9 if r else 0.1 for r in right]
    p_mel = [p if dx == "mel" else 1 - p for p, dx in zip(p_true, TRUTH, strict=True)]
    frame = pd.DataFrame(
        {"image_id": list(ids), "split": "test", "dx": TRUTH, "p_mel": p_mel, "p_nv": [1 - p for p in p_mel]}
    )
    frame.to_parquet(folder / "predictions.parquet")
    frame.assign(lesion_id=[f"L{i}" for i in ids])[["image_id", "lesion_id", "dx", "split"]].to_parquet(
        path / "split.parquet"
    )
    calibration = {
        "temperature": 1.0, "malignant": ["mel"], "threshold": 0.5, "specificity": 0.9, "classes": ["mel", "nv"],
    }  # fmt: skip
    (folder / "calibration.json").write_text(json.dumps(calibration))
    (folder / "classifier.safetensors").touch()
    (path / "config.yaml").write_text(dump_yaml(Config()))
    (path / "stages.json").write_text("{}")
    (path / "champion.json").write_text(json.dumps({"round": 0, "arm": "real"}))
    return path


def test_the_difference_of_the_figures_with_an_interval_around_it(tmp_path):
    worse = make_run(tmp_path / "a", [1, 0, 1, 1, 0, 0])
    better = make_run(tmp_path / "b", [1, 1, 1, 1, 1, 0])
    found = paired_differences(choose(worse), choose(better), draws=200, seed=0)
    accuracy, lesions = found["accuracy"]
    assert lesions == 6
    assert accuracy["value"] == pytest.approx(5 / 6 - 3 / 6)
    assert accuracy["low"] >= 0
    assert found["malignant.sensitivity"][0]["value"] == pytest.approx(0.5)
    assert found["malignant.specificity"][0]["value"] == pytest.approx(0.25)


def test_equal_predictions_differ_by_exactly_nothing(tmp_path):
    runs = [make_run(tmp_path / name, [1, 0, 1, 1, 0, 0]) for name in "ab"]
    found = paired_differences(choose(runs[0]), choose(runs[1]), draws=50, seed=0)
    assert found["accuracy"][0] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_other_images_are_refused(tmp_path):
    runs = [make_run(tmp_path / ids, [1] * 6, ids) for ids in ("abcdef", "abcdeg")]
    with pytest.raises(DataError, match="other test images"):
        paired_differences(choose(runs[0]), choose(runs[1]), draws=10, seed=0)


def test_other_groups_are_refused(tmp_path):
    """Bootstrap draws of patients and of lesions cannot be paired."""
    runs = [make_run(tmp_path / name, [1] * 6) for name in "ab"]
    file = runs[1] / "split.parquet"
    pd.read_parquet(file).assign(group="P1").to_parquet(file)
    with pytest.raises(DataError, match="by other patients or near-duplicates"):
        paired_differences(choose(runs[0]), choose(runs[1]), draws=10, seed=0)


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (0.012, -0.004, 0.028, "+1.2 (-0.4 to +2.8)"),
        (0.05, 0.01, 0.09, "[bold]+5.0 (+1.0 to +9.0)[/bold]"),
        (-0.05, -0.09, -0.01, "[bold]-5.0 (-9.0 to -1.0)[/bold]"),
        (None, None, None, "–"),
    ],
)
def test_differences_are_shown_in_points(value, low, high, text):
    assert points({"value": value, "low": low, "high": high}).markup == text


def test_one_run_is_too_few(tmp_path):
    with pytest.raises(DataError, match="two run folders"):
        compare([tmp_path], Console(file=io.StringIO()))


def test_a_round_missing_from_the_report_is_named(tmp_path):
    run = make_run(tmp_path / "a", [1] * 6)
    (run / "report.json").write_text(
        json.dumps({"schema_version": 2, "rounds": [], "split_digest": "s", "protocol": "safe"})
    )
    with pytest.raises(DataError, match=r"report.json has no round 0 real"):
        compare([run, run], Console(file=io.StringIO()))


def make_report(path, protocol="safe", pool=None):
    """A run folder with everything `compare` reads; ``pool`` replaces a pool of its own."""
    run = make_run(path, [1, 0, 1, 1, 0, 0])
    figure = {"value": 0.5, "low": 0.4, "high": 0.6}
    malignant = {"sensitivity": figure, "specificity": figure, "auc": figure}
    test = {
        "balanced_accuracy": figure,
        "accuracy": figure,
        "auc": figure,
        "malignant": malignant,
        "per_class": {},
    }
    entry = {"round": 0, "arm": "real", "test": test, "n_real": 6, "n_accepted": 0, "optimizer_steps": 1}
    entry |= pool or {"pool": {"added": {"mel": 3}}, "digests": {"pool": path.name}}
    (run / "report.json").write_text(
        json.dumps({"schema_version": 2, "rounds": [entry], "split_digest": "s", "protocol": protocol})
    )
    return run


def test_two_runs_side_by_side_and_their_difference(tmp_path):
    console = Console(file=io.StringIO(), width=120)
    compare([make_report(tmp_path / "a"), make_report(tmp_path / "b")], console)
    said = console.file.getvalue()
    assert "b (round 0 real) minus a (round 0 real)" in said and "+0.0 (too few: 6 lesions)" in said
    assert "LEAKY" not in said and "SIMULATED" not in said


def test_a_classifier_that_an_oracle_labelled_for_is_marked(tmp_path):
    console = Console(file=io.StringIO(), width=200)
    bought = {"asked": 4, "answered": 4, "conflicts": 0, "unsure": 0, "simulated": True}
    one, other = make_report(tmp_path / "a"), make_report(tmp_path / "b")
    report = json.loads((other / "report.json").read_text())
    report["rounds"][0]["labels"] = bought
    (other / "report.json").write_text(json.dumps(report))
    compare([one, other], console)
    said = console.file.getvalue()
    assert "b (round 0 real, SIMULATED LABELS) minus a (round 0 real)" in said
    assert "b (round 0 real, SIMULATED LABELS): SIMULATED LABELS: an oracle uncovered hidden labels" in said


def test_a_run_mined_from_test_is_marked(tmp_path):
    console = Console(file=io.StringIO(), width=200)
    compare([make_report(tmp_path / "a"), make_report(tmp_path / "b", "leaky")], console)
    said = console.file.getvalue()
    assert "b (round 0 real, LEAKY) minus a (round 0 real)" in said
    assert "LEAKY: hard cases were mined from the test part; its figures are not those of new lesions" in said


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("report.json", b"{}", "holds no list of rounds"),
        ("report.json", b"[]", "holds no list of rounds"),
        ("report.json", b'{"rounds": [{}]}', "holds no list of rounds"),
        ("report.json", b"{", "no valid JSON"),
        ("champion.json", b"{}", "names no round and arm"),
        ("champion.json", b"[", "no valid JSON"),
        ("config.yaml", b"a: [", "not valid YAML"),
        ("config.yaml", b"", "is empty"),
        ("split.parquet", b"PAR1", "no readable parquet"),
        ("rounds/0000/predictions.parquet", None, "no readable parquet"),
    ],
)
def test_a_broken_file_is_named_before_anything_is_printed(tmp_path, name, content, part):
    runs = [make_report(tmp_path / "a"), make_report(tmp_path / "b")]
    broken = runs[1] / name
    broken.write_bytes(broken.read_bytes()[:300] if content is None else content)
    console = Console(file=io.StringIO(), width=120)
    with pytest.raises(DataError, match=part) as caught:
        compare(runs, console)
    assert str(broken) in str(caught.value)
    assert console.file.getvalue() == ""


@pytest.mark.parametrize(
    ("drop", "part"), [("split_digest", "lacks split_digest"), ("protocol", "lacks protocol")]
)
def test_a_report_without_what_runs_are_compared_by(tmp_path, drop, part):
    run = make_report(tmp_path / "a")
    report = json.loads((run / "report.json").read_text())
    del report[drop]
    (run / "report.json").write_text(json.dumps(report))
    with pytest.raises(DataError, match=part):
        compare([run, run], Console(file=io.StringIO()))


def test_a_table_without_a_column_is_named(tmp_path):
    runs = [make_report(tmp_path / "a"), make_report(tmp_path / "b")]
    path = runs[1] / "rounds" / "0000" / "predictions.parquet"
    pd.read_parquet(path).drop(columns="p_nv").to_parquet(path)
    with pytest.raises(DataError, match=r"predictions\.parquet: lacks column p_nv"):
        compare(runs, Console(file=io.StringIO()))


def test_patients_are_drawn_whole(tmp_path):
    """With one patient for all lesions every draw is the sample itself: an interval of no width."""
    runs = [
        make_run(tmp_path / name, right)
        for name, right in zip("ab", ([1, 0, 1, 1, 0, 0], [1] * 6), strict=True)
    ]
    for run in runs:
        file = run / "split.parquet"
        pd.read_parquet(file).assign(group="P1").to_parquet(file)
    found = paired_differences(choose(runs[0]), choose(runs[1]), draws=50, seed=0)
    accuracy, lesions = found["accuracy"]
    assert accuracy["low"] == accuracy["high"] == accuracy["value"] == pytest.approx(0.5)
    assert lesions == 6


def printed(runs, **options):
    console = Console(file=io.StringIO(), width=200)
    compare(runs, console, **options)
    return console.file.getvalue()


EQUAL = {"pool": {"added": {"mel": 0}}, "digests": {"pool": "k"}}


def test_two_classifiers_of_one_pool_are_not_compared(tmp_path):
    said = printed([make_report(tmp_path / name, pool=EQUAL) for name in "ab"])
    assert "trained on the same images in the same way: nothing was tested" in said
    assert "minus" not in said and "+0.0" not in said


def test_one_pool_and_another_classifier_is_a_test_of_the_classifier(tmp_path):
    runs = [make_report(tmp_path / name, pool=EQUAL) for name in "ab"]
    (runs[1] / "config.yaml").write_text(dump_yaml(Config(classifier={"model": "resnet34"})))
    assert "b (round 0 real) minus a (round 0 real)" in printed(runs)


def test_what_the_first_run_was_planned_on_stands_first(tmp_path):
    runs = [make_report(tmp_path / name) for name in "ab"]
    said = printed(runs)
    first, second = (
        said.index(words) for words in ("Malignant AUC (primary)", "Log loss (lower is better) (co-primary)")
    )
    assert first < second < said.index("Balanced accuracy")
    assert "exploratory" not in said
    tree = read_tree(runs[0] / "config.yaml")
    del tree["evaluation"]["primary"]
    (runs[0] / "config.yaml").write_text(yaml.safe_dump(tree))
    assert "Malignant sensitivity (primary)" in printed(runs), "a run made before the key"


def test_a_figure_named_afterwards_is_exploratory(tmp_path):
    runs = [make_report(tmp_path / name) for name in "ab"]
    said = printed(runs, figure="malignant.mean_sensitivity")
    assert "Mean malignant sensitivity over 80 to 98 % specificity (exploratory)" in said
    assert "is exploratory: named after the figures were there, so no claim can rest on it" in said
    assert "(primary)" not in said
    with pytest.raises(
        ConfigError, match=r"--figure: no figure is called 'f1'; known: malignant\.sensitivity"
    ):
        printed(runs, figure="f1")


def test_a_log_loss_differs_in_nats():
    assert (
        points({"value": -0.0521, "low": -0.06, "high": -0.044}, "log_loss").plain
        == "-0.052 (-0.060 to -0.044)"
    )


def with_seed(run, right):
    """The run with a further classifier seed that is right where ``right`` is 1."""
    other = make_run(run.parent / f"{run.name} seed", right)
    folder = run / "rounds" / "0000" / "seed_1"
    folder.mkdir()
    for name in ("predictions.parquet", "calibration.json"):
        (folder / name).write_bytes((other / "rounds" / "0000" / name).read_bytes())
    return run


def test_the_difference_is_that_of_the_means_over_seeds(tmp_path):
    """By first seeds b is better by 2 of 6, by means over seeds worse by 2 of 6: the sign turns."""
    a = with_seed(make_run(tmp_path / "a", [1, 0, 1, 1, 0, 0]), [1, 1, 1, 1, 1, 1])
    b = with_seed(make_run(tmp_path / "b", [1, 1, 1, 1, 1, 0]), [0, 0, 0, 0, 0, 0])
    found = paired_differences(choose(a), choose(b), draws=200, seed=0)["accuracy"][0]
    assert found["value"] == pytest.approx((5 / 6 + 0) / 2 - (3 / 6 + 1) / 2)
    assert found["low"] <= found["value"] <= found["high"] < 0


def test_a_seed_is_called_by_its_own_threshold(tmp_path):
    run = with_seed(make_run(tmp_path / "a", [1, 1, 1, 1, 1, 1]), [1, 1, 1, 1, 1, 1])
    same = make_run(tmp_path / "b", [1, 1, 1, 1, 1, 1])
    path = run / "rounds" / "0000" / "seed_1" / "calibration.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "threshold": 0.95}))
    found = paired_differences(choose(same), choose(run), draws=20, seed=0)
    assert found["malignant.sensitivity"][0]["value"] == pytest.approx(0.5 - 1.0)


def test_a_table_of_seeds_says_that_it_shows_means(tmp_path):
    console = Console(file=io.StringIO(), width=200)
    one, other = make_report(tmp_path / "a"), with_seed(make_report(tmp_path / "b"), [1] * 6)
    compare([one, other], console)
    assert "means over 2 and 1 classifier seeds" in console.file.getvalue()
