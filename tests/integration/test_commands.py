"""Every command on a finished run: what it writes, what it agrees with, what it refuses."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from engine.cli import app
from engine.config import DataConfig
from engine.data.readers.table import read
from tests.engine.data import layouts

pytestmark = pytest.mark.slow

CLASSES = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]


def hardcase(*arguments):
    """Run a command; returns (exit code, stdout, stderr)."""
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="session")
def exported(finished_run, tmp_path_factory):
    """The run's data as `hardcase export data` writes it."""
    out = tmp_path_factory.mktemp("export") / "data"
    code, _, error = hardcase("export", "data", finished_run, "--out", out)
    assert code == 0, error
    return out


@pytest.fixture(scope="session")
def external(exported, tmp_path_factory):
    """The real test images alone, in HAM10000's layout."""
    out = tmp_path_factory.mktemp("external")
    frame = pd.read_csv(exported / "HAM10000_metadata.csv", keep_default_na=False)
    frame = frame[frame["split"] == "test"]
    (out / "images").mkdir()
    for name in frame["image_id"]:
        shutil.copyfile(exported / "images" / f"{name}.png", out / "images" / f"{name}.png")
    frame.to_csv(out / "HAM10000_metadata.csv", index=False)
    return out


def champion_of(run):
    return json.loads((run / "champion.json").read_text())


def champion_folder(run):
    return (run / champion_of(run)["classifier"]).parent


def entry_of(run, number, arm):
    rounds = json.loads((run / "report.json").read_text())["rounds"]
    return next(r for r in rounds if (r["round"], r["arm"]) == (number, arm))


def test_exported_data_is_read_by_our_own_reader_with_every_image_marked(finished_run, exported):
    source = read(DataConfig(format="ham10000", root=str(exported), image_size=16), 0)
    split = pd.read_parquet(finished_run / "split.parquet")
    accepted = pd.read_parquet(finished_run / "rounds/0001/synthetic.parquet").query("accepted")
    origin = source.table.origin.tolist()
    assert origin.count("real") == len(split)
    assert origin.count("synthetic") == len(accepted) > 0
    frame = pd.read_csv(exported / "HAM10000_metadata.csv", keep_default_na=False, dtype=str)
    made = frame[frame["origin"] == "synthetic"].set_index("image_id")
    assert set(made["synthetic"]) == {"true"}
    assert set(made["split"]) == {"train"}
    for row in accepted.itertuples():
        assert made.loc[row.sample_id, "seed"] == str(row.seed)
        assert made.loc[row.sample_id, "parent_image_id"] == row.parent_image_id
        assert made.loc[row.sample_id, "round"] == "1"
    lesion = split.set_index("image_id")["lesion_id"]
    assert (made["lesion_id"] == lesion.loc[made["parent_image_id"]].to_numpy()).all()


def test_exported_pixels_are_the_runs(finished_run, exported):
    name = (
        pd.read_parquet(finished_run / "rounds/0001/synthetic.parquet").query("accepted")["sample_id"].iloc[0]
    )
    written = np.asarray(Image.open(exported / "images" / f"{name}.png"))
    made = np.asarray(Image.open(finished_run / "rounds/0001/synthetic" / f"{name}.png"))
    assert (written == made).all()


def assert_same_rows(csv, parquet):
    """The same columns and values, to the last bit, and a type for every column."""
    typed = pd.read_parquet(parquet)
    pd.testing.assert_frame_equal(
        typed, pd.read_csv(csv, float_precision="round_trip"), check_dtype=False, check_exact=True
    )
    kinds = {name: str(kind) for name, kind in typed.dtypes.items()}
    assert {kinds[name] for name in typed if name.startswith("p_")} == {"float64"}
    assert kinds["malignant_score"].lower() == "float64" and kinds["above_threshold"] in ("bool", "boolean")


def test_predict_repeats_the_runs_own_predictions(finished_run, exported, tmp_path):
    files = tmp_path / "p.csv", tmp_path / "p.parquet"
    code, out, _ = hardcase(
        "predict", finished_run, exported / "images", "--csv", files[0], "--parquet", files[1]
    )
    assert code == 0
    assert "not a medical device" in out
    assert_same_rows(*files)
    found = pd.read_csv(files[0]).set_index("image_id")
    own = pd.read_parquet(champion_folder(finished_run) / "predictions.parquet").set_index("image_id")
    columns = [f"p_{dx}" for dx in CLASSES]
    np.testing.assert_allclose(found.loc[own.index, columns], own[columns], atol=1e-6)
    calibration = json.loads((champion_folder(finished_run) / "calibration.json").read_text())
    score = found[["p_akiec", "p_bcc", "p_mel"]].sum(axis=1)
    np.testing.assert_allclose(found["malignant_score"], score, atol=1e-12)
    assert (found["above_threshold"] == (found["malignant_score"] >= calibration["threshold"])).all()
    assert (found["predicted"] == found[columns].idxmax(axis=1).str[2:]).all()


def test_predict_names_a_bomb_skips_it_and_counts_what_is_no_photograph(finished_run, tmp_path):
    folder = tmp_path / "in"
    for name in ("a.jpg", "b.png"):
        layouts.save(folder / name, layouts.picture(1))
    (folder / "._a.jpg").write_bytes(b"\0\5\x16\7")
    layouts.save(folder / "a_segmentation.png", np.full((30, 40), 255, np.uint8))
    (folder / "huge.png").write_bytes(layouts.png_of(16000, 16000))
    code, _, error = hardcase("predict", finished_run, folder, "--csv", tmp_path / "p.csv")
    assert code == 2
    assert "1 of 3 images cannot be read; replace them or give --skip-bad" in error
    assert "huge.png: it has 16000 x 16000 pixels, more than the limit of 178,956,970" in error
    assert not (tmp_path / "p.csv").exists()
    code, out, error = hardcase("predict", finished_run, folder, "--csv", tmp_path / "p.csv", "--skip-bad")
    assert code == 0, error
    assert "left out 1 that cannot be read, 1 hidden, 1 mask" in out
    assert pd.read_csv(tmp_path / "p.csv")["image_id"].tolist() == ["a", "b"]


def test_evaluate_says_what_it_left_out(finished_run, external, tmp_path):
    folder = shutil.copytree(external, tmp_path / "data")
    names = sorted(path.stem for path in (folder / "images").iterdir())
    (folder / "images" / f"{names[0]}.png").write_bytes(layouts.png_of(30000, 30000))
    (folder / "images" / f"._{names[1]}.png").write_bytes(b"\0\5\x16\7")
    layouts.save(folder / "images" / f"{names[1]}_superpixels.png", layouts.picture(1))
    given = ("evaluate", finished_run, "data.format=ham10000", f"data.root={folder}")
    code, _, error = hardcase(*given)
    assert code == 2
    assert f"{names[0]}.png: cannot be decoded (it has 30000 x 30000 pixels" in error
    code, out, error = hardcase(*given, "data.on_bad_image=skip", "--json", tmp_path / "e.json")
    assert code == 0, error
    assert "left out 1 that cannot be read, 1 hidden, 1 superpixel or other map" in out
    result = json.loads((tmp_path / "e.json").read_text())
    assert result["n"] == len(names) - 1
    assert result["data"]["n_skipped"] == 1
    assert result["data"]["left_out"] == {"hidden": 1, "superpixels or other maps": 1}


def test_evaluate_on_the_test_lesions_gives_the_reports_own_figures(finished_run, external, tmp_path):
    code, out, error = hardcase(
        "evaluate",
        finished_run,
        "data.format=ham10000",
        f"data.root={external}",
        "--json",
        tmp_path / "e.json",
        "--csv",
        tmp_path / "e.csv",
        "--parquet",
        tmp_path / "e.parquet",
    )
    assert code == 0, error
    result = json.loads((tmp_path / "e.json").read_text())
    champion = champion_of(finished_run)
    assert_same_rows(tmp_path / "e.csv", tmp_path / "e.parquet")
    rows = pd.read_parquet(tmp_path / "e.parquet").set_index("image_id")
    own = pd.read_parquet(champion_folder(finished_run) / "predictions.parquet").set_index("image_id")
    own = own[own["split"] == "test"]
    assert set(rows.index) == set(own.index) and (rows["dx"] == own.loc[rows.index, "dx"]).all()
    np.testing.assert_allclose(rows.filter(like="p_"), own.loc[rows.index].filter(like="p_"), atol=1e-6)
    expected = entry_of(finished_run, champion["round"], champion["arm"])["test"]
    assert set(result) == {"data", "n", "round", "arm", "protocol", "metrics"}
    assert result["protocol"] == "safe" and "LEAKY" not in out
    assert (result["round"], result["arm"]) == (champion["round"], champion["arm"])
    assert result["n"] == expected["n"]
    for name in ("accuracy", "balanced_accuracy", "auc", "malignant", "confusion"):
        assert result["metrics"][name] == expected[name], name
    assert result["data"]["seen"] == {"test": expected["n"]}
    assert "no external validation" in out


def test_evaluate_and_predict_leave_the_synthetic_images_of_an_export_out(finished_run, exported, tmp_path):
    frame = pd.read_csv(exported / "HAM10000_metadata.csv", keep_default_na=False)
    made = int((frame["origin"] == "synthetic").sum())
    assert made > 0
    sources = (
        ["data.format=ham10000", f"data.root={exported}"],
        [
            "data.format=table",
            f"data.root={exported}",
            "data.columns={image: image_id, label: dx, lesion: lesion_id}",
        ],
    )
    for source in sources:
        code, out, error = hardcase("evaluate", finished_run, *source, "--json", tmp_path / "e.json")
        assert code == 0, error
        assert f"{made} synthetic images are left out" in out
        result = json.loads((tmp_path / "e.json").read_text())
        assert result["n"] == result["data"]["n_images"] == len(frame) - made
        assert result["data"]["n_synthetic"] == made
        assert sum(result["data"]["seen"].values()) == len(frame) - made
    for folder in (exported, exported / "images"):
        code, out, error = hardcase("predict", finished_run, folder, "--csv", tmp_path / "p.csv")
        assert code == 0, error
        assert f"{made} synthetic images of an exported folder are left out" in out
        found = pd.read_csv(tmp_path / "p.csv")
        assert set(found["image_id"]) == set(frame["image_id"][frame["origin"] == "real"])
    one = exported / "images" / f"{frame['image_id'][frame['origin'] == 'synthetic'].iloc[0]}.png"
    assert hardcase("predict", finished_run, one, "--csv", tmp_path / "one.csv")[0] == 0, "asked for by name"


def test_evaluate_refuses_synthetic_images_alone(finished_run, exported, tmp_path):
    shutil.copytree(exported, tmp_path / "alone")
    table = tmp_path / "alone" / "HAM10000_metadata.csv"
    frame = pd.read_csv(table, keep_default_na=False)
    frame[frame["origin"] == "synthetic"].to_csv(table, index=False)
    code, _, error = hardcase(
        "evaluate", finished_run, "data.format=ham10000", f"data.root={tmp_path / 'alone'}"
    )
    assert code == 2 and ("synthetic images alone" in error or "only class" in error)


def test_evaluate_scores_another_round_and_arm_when_asked(finished_run, external, tmp_path):
    code, _, error = hardcase(
        "evaluate", finished_run, "data.format=ham10000", f"data.root={external}",
        "--round", 0, "--arm", "real", "--json", tmp_path / "e.json",
    )  # fmt: skip
    assert code == 0, error
    result = json.loads((tmp_path / "e.json").read_text())
    assert result["metrics"]["accuracy"] == entry_of(finished_run, 0, "real")["test"]["accuracy"]


@pytest.fixture
def leaky_run(finished_run, tmp_path):
    """The run as `loop.mine_from: test` would have left it: its config says so, and it has no champion."""
    copy = tmp_path / "leaky"
    shutil.copytree(finished_run, copy)
    (copy / "checksums.json").unlink()
    text = (copy / "config.yaml").read_text()
    assert "mine_from: mine" in text
    (copy / "config.yaml").write_text(text.replace("mine_from: mine", "mine_from: test"))
    report = json.loads((copy / "report.json").read_text())
    (copy / "report.json").write_text(json.dumps({**report, "protocol": "leaky", "champion": None}))
    (copy / "champion.json").unlink()
    (tmp_path / "stages").symlink_to(finished_run.parent / "stages")
    return copy


def test_whatever_uses_a_leaky_run_says_so(leaky_run, external, tmp_path):
    code, out, error = hardcase(
        "evaluate", leaky_run, "data.format=ham10000", f"data.root={external}", "--arm", "hard",
        "--json", tmp_path / "e.json",
    )  # fmt: skip
    assert code == 0, error
    assert "LEAKY: hard cases were mined from the test part. Images of the test part steered" in out
    assert "(ham10000) (LEAKY: mined from test)" in " ".join(out.split()), "the table's title"
    assert json.loads((tmp_path / "e.json").read_text())["protocol"] == "leaky"
    image = next((external / "images").glob("*.png"))
    code, out, error = hardcase("predict", leaky_run, image, "--csv", tmp_path / "p.csv", "--arm", "hard")
    assert code == 0, error
    assert "predictions of round 1 hard (LEAKY: mined from test) in" in out
    code, out, error = hardcase(
        "export", "model", leaky_run, "--out", tmp_path / "m", "--no-onnx", "--arm", "hard"
    )
    assert code == 0, error
    assert "round 1 hard (LEAKY: mined from test) in" in out
    assert "LEAKY: hard cases were mined from the test part" in (tmp_path / "m" / "README.md").read_text()
    code, out, error = hardcase("export", "data", leaky_run, "--out", tmp_path / "d")
    assert code == 0, error
    assert "accepted synthetic images (LEAKY: mined from test) in" in out
    assert "synthetic images have test images as parents" in (tmp_path / "d" / "README.md").read_text()


def test_evaluate_leaves_the_run_as_it_was(finished_run, external):
    def state():
        return {p: p.stat().st_mtime_ns for p in finished_run.rglob("*") if p.is_file()}

    before = state()
    code, _, _ = hardcase("evaluate", finished_run, "data.format=ham10000", f"data.root={external}")
    assert code == 0
    assert state() == before


def test_evaluate_refuses_classes_the_run_does_not_know(finished_run, external, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(external, other)
    frame = pd.read_csv(other / "HAM10000_metadata.csv", keep_default_na=False)
    frame.loc[frame["dx"] == "df", "dx"] = "scc"
    frame.to_csv(other / "HAM10000_metadata.csv", index=False)
    json_path = tmp_path / "e.json"
    arguments = ["evaluate", finished_run, "data.format=ham10000", f"data.root={other}", "--json", json_path]
    code, _, error = hardcase(*arguments)
    assert code == 2
    assert "scc" in error
    assert "data.map_labels" in error
    assert not json_path.exists()
    code, _, error = hardcase(*arguments, "data.map_labels={scc: df}")
    assert code == 0, error


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "give data.format=FORMAT data.root=FOLDER"),
        (["classifier.steps=3"], "classifier.steps: evaluate refits nothing"),
        (["data.format=ham10000", "data.root=/nowhere"], "/nowhere"),
        (["data.format=phantom", "data.image_size=32"], "data.image_size: the classifier was fitted with 16"),
        (["data.format=phantom", "data.malignant=[mel]"], "data.malignant: the classifier was fitted with"),
        (["data.format=phantom", "data.rot=x"], "data.rot: unknown key; did you mean data.root?"),
    ],
)
def test_evaluate_names_what_is_wrong(finished_run, overrides, message):
    code, _, error = hardcase("evaluate", finished_run, *overrides)
    assert code == 2
    assert message in error


def test_predict_names_bad_images_and_writes_nothing(finished_run, exported, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    good = next((exported / "images").glob("*.png"))
    shutil.copyfile(good, images / "good.png")
    (images / "cut.png").write_bytes(good.read_bytes()[:60])
    (images / "text.jpg").write_text("no image")
    code, _, error = hardcase("predict", finished_run, images, "--csv", tmp_path / "p.csv")
    assert code == 2
    assert "2 of 3 images" in error
    assert "cut.png" in error
    assert "text.jpg" in error
    assert not (tmp_path / "p.csv").exists()
    code, out, _ = hardcase("predict", finished_run, images, "--csv", tmp_path / "p.csv", "--skip-bad")
    assert code == 0
    assert "skipped" in out
    assert pd.read_csv(tmp_path / "p.csv")["image_id"].tolist() == ["good"]


@pytest.mark.parametrize("given", ["missing.png", "."])
def test_predict_needs_images(finished_run, tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    code, _, error = hardcase("predict", finished_run, given, "--csv", tmp_path / "p.csv")
    assert code == 2
    assert given in error


def test_synthesize_writes_images_with_provenance_that_a_seed_repeats(finished_run, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        code, _, error = hardcase(
            "synthesize",
            finished_run,
            "--class",
            "mel",
            "--count",
            4,
            "--out",
            tmp_path / name,
            "--seed",
            seed,
            *(["--profile"] if name == "b" else []),
        )
        assert code == 0, error
    assert "## synthesize" in (tmp_path / "b" / "profile" / "operations.md").read_text()
    assert not (tmp_path / "a" / "profile").exists()
    a, b, c = (pd.read_csv(tmp_path / name / "provenance.csv", keep_default_na=False) for name in "abc")
    assert len(a) == 4
    assert set(a["dx"]) == {"mel"}
    pd.testing.assert_frame_equal(a, b)
    assert a["seed"].tolist() != c["seed"].tolist()
    for name in a["file"]:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        assert Image.open(tmp_path / "a" / name).size == (16, 16)
    split = pd.read_parquet(finished_run / "split.parquet").set_index("image_id")
    parents = split.loc[a["parent_image_id"]]
    assert set(parents["split"]) == {"train"}
    assert parents["lesion_id"].tolist() == a["parent_lesion_id"].tolist()


def test_synthesize_refuses_an_unknown_class_and_a_used_folder(finished_run, tmp_path):
    code, _, error = hardcase("synthesize", finished_run, "--class", "mole", "--out", tmp_path / "a")
    assert code == 2
    assert "mole" in error
    assert "akiec, bcc" in error
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").touch()
    code, _, error = hardcase("synthesize", finished_run, "--class", "mel", "--out", tmp_path / "b")
    assert code == 2
    assert "not an empty folder" in error
    assert [p.name for p in tmp_path.rglob("*")] == ["b", "x"]


def test_an_exported_model_gives_the_runs_probabilities(finished_run, exported, tmp_path):
    out = tmp_path / "model"
    code, _, error = hardcase("export", "model", finished_run, "--out", out)
    assert code == 0, error
    facts = json.loads((out / "preprocessing.json").read_text())
    calibration = json.loads((out / "calibration.json").read_text())
    assert facts["classes"] == CLASSES
    assert facts["temperature"] == calibration["temperature"]
    assert facts["malignant"]["threshold"] == calibration["threshold"]
    own = pd.read_parquet(champion_folder(finished_run) / "predictions.parquet").head(5)
    images = [np.asarray(Image.open(exported / "images" / f"{name}.png")) for name in own["image_id"]]
    unit = (np.stack(images).transpose(0, 3, 1, 2) / 255).astype(np.float32)
    session = onnxruntime.InferenceSession(str(out / "classifier.onnx"), providers=["CPUExecutionProvider"])
    (probability,) = session.run(["probability"], {"image": unit})
    np.testing.assert_allclose(probability, own[[f"p_{dx}" for dx in CLASSES]], atol=1e-4)
    weights = (out / "classifier.safetensors").read_bytes()
    assert weights == (champion_folder(finished_run) / "classifier.safetensors").read_bytes()
    card = (out / "README.md").read_text()
    assert "not a medical device" in card
    assert f"Temperature {calibration['temperature']:.4f}" in card


def test_the_cards_script_repeats_predict_on_raw_photographs(finished_run, tmp_path):
    """In another process, without hardcase: photographs of several kinds, larger than the model's images."""
    out, photographs = tmp_path / "model", tmp_path / "photographs"
    assert hardcase("export", "model", finished_run, "--out", out)[0] == 0
    photographs.mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        noise = rng.integers(0, 256, size=(24, 32, 3), dtype=np.uint8)
        image = Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC)
        exif = Image.Exif()
        exif[0x0112] = 6 if number == 1 else 1
        image.save(photographs / f"a{number}.jpg", quality=90, exif=exif)
    image.convert("RGBA").resize((200, 300)).save(photographs / "b.png")
    image.convert("P").save(photographs / "c.png")
    csv = tmp_path / "ours.csv"
    code, _, error = hardcase("predict", finished_run, photographs, "--csv", csv)
    assert code == 0, error
    ours = pd.read_csv(csv).set_index("file")
    card = (out / "README.md").read_text()
    assert "python apply.py PHOTOGRAPH [PHOTOGRAPH ...] > predictions.csv" in card
    code = (
        "import runpy, sys; sys.modules |= {'engine': None, 'torch': None}; sys.argv = sys.argv[1:]; "
        f"sys.path.insert(0, {str(out)!r}); runpy.run_path('apply.py', run_name='__main__')"
    )
    paths = [str(path) for path in sorted(photographs.iterdir())]
    done = subprocess.run(
        [sys.executable, "-c", code, "apply.py", *paths], cwd=out, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    theirs = pd.read_csv(io.StringIO(done.stdout)).set_index("file")
    names = [f"p_{dx}" for dx in CLASSES]
    ours.index = [Path(name).name for name in ours.index]
    theirs.index = [Path(name).name for name in theirs.index]
    np.testing.assert_allclose(theirs[names], ours.loc[theirs.index, names], atol=2e-5)
    assert theirs["predicted"].tolist() == ours.loc[theirs.index, "predicted"].tolist()


def test_a_model_without_onnx(finished_run, tmp_path):
    code, _, error = hardcase(
        "export", "model", finished_run, "--out", tmp_path / "m", "--no-onnx", "--round", 1, "--arm", "real"
    )
    assert code == 0, error
    names = sorted(p.name for p in (tmp_path / "m").glob("[!.]*"))
    assert names == ["README.md", "calibration.json", "classifier.safetensors", "preprocessing.json"]
    assert "round 1 real" in (tmp_path / "m" / "README.md").read_text()


def test_compare_pairs_runs_on_one_split_and_warns_where_splits_differ(finished_run, tmp_path):
    code, out, error = hardcase("compare", finished_run, finished_run)
    assert code == 0, error
    other = tmp_path / "other"
    shutil.copytree(finished_run, other)
    report = json.loads((other / "report.json").read_text())
    (other / "checksums.json").unlink()
    (other / "report.json").write_text(json.dumps({**report, "split_digest": "0" * 16, "protocol": "leaky"}))
    code, out, _ = hardcase("compare", finished_run, other)
    assert code == 0
    assert "cannot be compared" in out
    assert "LEAKY: hard cases were mined from the test part" in out
    assert "paired bootstrap" not in out


def test_report_renders_again(finished_run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished_run, copy)
    (copy / "report.html").unlink()
    code, out, _ = hardcase("report", copy)
    assert code == 0
    assert (copy / "report.html").stat().st_size > 1000
    assert str(copy / "report.html") in out.replace("\n", "")
    assert "Hard cases changed malignant AUC by" in out
    assert "not shown" in out and "1 training set; 5 are the fewest for a claim" in out


def test_report_refuses_the_same_run_twice_under_two_names(finished_run, tmp_path):
    shutil.copytree(finished_run, tmp_path / "copy")
    code, _, error = hardcase("report", finished_run, tmp_path / "copy", "--out", tmp_path / "study")
    assert code == 2
    assert "is the same as" in error


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "RUN", "data.format=phantom"],
        ["predict", "RUN", "x.png", "--csv", "p.csv"],
        ["report", "RUN"],
        ["compare", "RUN", "RUN"],
        ["synthesize", "RUN", "--class", "mel", "--out", "o"],
        ["export", "data", "RUN", "--out", "o"],
        ["export", "model", "RUN", "--out", "o"],
    ],
)
def test_a_folder_that_is_no_run_is_named(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    folder = Path("empty")
    folder.mkdir()
    code, _, error = hardcase(*[str(folder) if a == "RUN" else a for a in arguments])
    assert code == 2
    assert "empty: no run folder" in error
    assert [p.name for p in tmp_path.iterdir()] == ["empty"]


def test_an_absent_round_lists_those_there_are(finished_run, tmp_path):
    code, _, error = hardcase("export", "model", finished_run, "--out", tmp_path / "m", "--round", 7)
    assert code == 2
    assert "--round 7" in error
    assert "0 real, 1 hard, 1 real" in error
