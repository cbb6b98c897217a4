"""Config loading: overrides, round trip, and one clear message for every kind of mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from engine.artifacts.yaml_text import parse_yaml
from engine.build import load
from engine.config import Config, dump_yaml, load_config, parse_config
from engine.errors import ConfigError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_are_valid_and_survive_a_round_trip() -> None:
    config = parse_config({})
    assert Config.model_validate(yaml.safe_load(dump_yaml(config))) == config


def test_overrides_are_yaml_and_reach_nested_keys(tmp_path: Path) -> None:
    path = write(tmp_path, "name: a\nloop: {rounds: 1}\n")
    config = load_config(
        path, ["loop.rounds=3", "loop.arms=[hard, real]", "data.limit=null", "vae.loss.ssim=0.5", "name=b"]
    )
    assert config.loop.rounds == 3
    assert config.loop.arms == ["hard", "real"]
    assert config.data.limit is None
    assert config.vae.loss.ssim == 0.5
    assert config.name == "b"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("loop: {round: 3}", ["loop.round", "unknown key", "did you mean loop.rounds?"]),
        ("loop: {rounds: three}", ["loop.rounds", "valid integer", "'three'"]),
        ("loop: {rounds: '3'}", ["loop.rounds", "valid integer"]),
        ("loop: {rounds: true}", ["loop.rounds", "valid integer"]),
        ("loop: {arms: [real]}", ["loop.arms", "must contain hard"]),
        ("loop: {arms: [hard, hard]}", ["loop.arms", "named twice"]),
        ("data: {split: {train: 0.9}}", ["data.split", "sum to 1.3", "lower"]),
        ("data: {split: {val: 0.0}}", ["data.split", "val must be above 0"]),
        ("data: {format: ham10000}", ["data", "root is required"]),
        ("data: {format: torchvision, root: x}", ["dataset is required"]),
        ("data: {format: table, root: x}", ["columns.image"]),
        ("data: {split: {mine: 0.0}}", ["data.split.mine is 0", "crossfit"]),
        ("judge: {model: resnet18}", ["judge.model", "independent"]),
        ("data: {image_size: 60}", ["data.image_size (60)", "multiple"]),
        ("vae: {widths: [16, 32]}", ["vae", "downsample"]),
        ("embedder: {levels: 9}", ["embedder", "levels (9) exceeds layers"]),
        ("synthesis: {steps: 1}", ["synthesis", "at least 2 for dpmpp_sde (of second order)", "use ddim"]),
        ("synthesis: {guidance_interval: [0.9, 0.1]}", ["guidance_interval"]),
        ("synthesis: {sampler: magic}", ["synthesis.sampler", "'dpmpp_sde'"]),
        ("backend: {train_workers: 2}", ["backend.train_workers", "ray"]),
        ("backend: {train_workers: [1, 2]}", ["backend.train_workers", "ray"]),
        (
            "backend: {kind: ray, train_workers: [3, 2]}",
            ["backend.train_workers: ", "fewest <= most"],
        ),
        ("backend: {kind: ray, train_workers: [0, 2]}", ["backend.train_workers: ", "1 <= fewest"]),
        ("backend: {kind: ray, train_workers: [1, 2, 3]}", ["backend.train_workers: ", "[fewest, most]"]),
        ("loop: {arms: [hard, all_real], mine_from: crossfit}", ["all_real", "mine_from: mine"]),
        ("data: {split: {train_sets: {use: 10}}}", ["train_sets", "use 10 is no set", "0 to 9"]),
        ("data: {split: {train_sets: {use: [1, 1]}}}", ["train_sets", "names a set twice"]),
        ("data: {split: {folds: {use: 5}}}", ["folds", "use 5 is no fold", "0 to 4"]),
        ("data: {split: {folds: {}, official: true}}", ["data.split", "folds and official"]),
        ("data: {split: {folds: {}, val: 0.9, mine: 0.1}}", ["data.split", "leaves no train"]),
        ("{data: {split: {seal: test}}, loop: {mine_from: test}}", ["mine_from: test", "data.split.seal"]),
        ("{loop: {arms: [hard, dcgan]}, synthesis: {generator: dcgan}}", ["dcgan itself"]),
        ("denoiser: {distill: {steps: 0}}", ["denoiser.distill.steps", "greater than or equal to 1"]),
        (
            "{denoiser: {distill: {}}, synthesis: {generator: dcgan}}",
            ["denoiser.distill", "samples no denoiser"],
        ),
        (
            "{denoiser: {distill: {}}, synthesis: {classifier_scale: 1.0}}",
            ["synthesis.classifier_scale acts on the denoiser", "drop it, or denoiser.distill"],
        ),
        (
            "{denoiser: {distill: {}}, synthesis: {adversarial_scale: 1.0}}",
            ["synthesis.adversarial_scale acts"],
        ),
        (
            "{denoiser: {distill: {}}, synthesis: {strength: 0.5, skin_share: 0.5}}",
            ["synthesis.skin_share acts on the denoiser"],
        ),
        ("{denoiser: {distill: {}}, synthesis: {beta: 0.5}}", ["synthesis.beta acts on the denoiser"]),
        ("loop: {arms: [hard, synthetic]}", ["synthetic", "round_init: scratch"]),
        ("classifier: {mix: {share: 1.0}}", ["classifier.mix.share", "less than 1"]),
        ("classifier: {mix: {finish_on_real: 600}}", ["finish_on_real (600)", "later rounds have 600"]),
        (
            "{classifier: {mix: {split_batchnorm: true}}, backend: {kind: ray, train_workers: 2}}",
            ["split_batchnorm", "train_workers 0 or 1"],
        ),
        ("name: ../escape", ["name", "'../escape'"]),
        ("seed: .nan", ["seed"]),
        ("policy: {mining: {name: magic}}", ["policy.mining", "magic", "misclassified"]),
        ("policy: {mining: {name: margin, top: 3}}", ["policy.mining", "top", "top_k"]),
        ("policy: {mining: 3}", ["policy.mining"]),
        ("policy: {mining: margin}", ["policy.mining", "write {name: margin}"]),
        ("policy: {query: badge}", ["policy.query", "write {name: badge}"]),
        ("policy: {selection: entropy}", ["policy.selection", "write {name: entropy}"]),
        (
            "policy: {selection: {name: entropy, cooling: 0.5}}",
            ["policy.selection", "raise noise or remove it"],
        ),
        ("name: stages", ["name", "stages is the folder of the stage cache", "another name"]),
        ("seed: -1", ["seed", "greater than or equal to 0", "-1"]),
        ("loop: {seed: -1}", ["loop.seed", "-1"]),
        ("tune: {seed: 4294967296}", ["tune.seed", "less than 4294967296"]),
        ("data: {malignant: [mel, yes]}", ["data.malignant", "YAML reads", "yes, on or true", "quote it"]),
        ("data: {malignant: [1.5]}", ["data.malignant", "the class 1.5 as a number", "quote it"]),
        ("data: {map_labels: {no: null}}", ["data.map_labels", "no, off or false", "quote it"]),
        ("data: {map_labels: {a: on}}", ["data.map_labels", "yes, on or true", "quote it"]),
        ("data: {map_labels: {0: a, '0': b}}", ["data.map_labels", "names a label twice"]),
        ("evaluation: {melanoma: off}", ["evaluation.melanoma", "quote it"]),
        (
            "classifier: {batch_size: 1}",
            ["classifier.batch_size", "is 1", "batch normalisation", "give 2 or more"],
        ),
        ("judge: {batch_size: 1}", ["judge.batch_size", "is 1", "batch normalisation", "give 2 or more"]),
        ("judge: {batch_size: 0}", ["judge.batch_size", "greater than or equal to 2"]),
        ("classifier: {batch_size: true}", ["classifier.batch_size", "valid integer"]),
        ("embedder: {batch_size: 1}", ["embedder.batch_size", "tell the images of a batch apart"]),
        *[
            (
                f"{{{part}: {{batch_size: 3}}, backend: {{kind: ray, train_workers: 4}}}}",
                [f"{part}.batch_size (3)", "backend.train_workers (4)"],
            )
            for part in ("embedder", "vae", "denoiser", "gan", "classifier", "judge")
        ],
        (
            "policy: {selection: {name: disagreement}}",
            [
                "policy.selection: disagreement has no choice while loop.candidates is 1",
                "raise loop.candidates",
            ],
        ),
        ("- a\n- b", ["expected keys and values"]),
        ("a: [", ["not valid YAML"]),
        ("name: !!python/name:os.system x", ["YAML tags are not allowed"]),
    ],
)
def test_every_mistake_names_its_key_and_the_remedy(tmp_path: Path, text: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    message = str(caught.value)
    assert all(part in message for part in parts), message
    assert len(message.splitlines()) <= 4, message


def test_a_selection_that_has_a_choice_or_was_run_before_is_read(tmp_path: Path) -> None:
    text = "policy: {selection: {name: entropy}}\n"
    assert load(write(tmp_path, text + "loop: {candidates: 2}\n")).policy.selection == {"name": "entropy"}
    assert load(write(tmp_path, "policy: {selection: {name: random}}")).loop.candidates == 1
    assert (
        parse_config({"policy": {"selection": {"name": "entropy"}}}).loop.candidates == 1
    )  # of a run folder


def test_all_problems_come_in_one_message(tmp_path: Path) -> None:
    path = write(
        tmp_path, "loop: {round: 3, budget: 0}\nvae: {steps: many}\npolicy: {mining: {name: magic}}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(path)
    message = str(caught.value)
    assert "4 problems" in message
    for key in ("loop.round", "loop.budget", "vae.steps", "policy.mining"):
        assert key in message


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("loop.rounds", "expected key=value"),
        ("=3", "expected key=value"),
        ("a..b=3", "expected key=value"),
        ("name.first=3", "is a value, not a section"),
        ("loop.arms=[", "not valid YAML"),
        ("loop={rounds: 1, rounds: 2}", "key rounds is given twice, in line 1"),
    ],
)
def test_bad_overrides_are_quoted(tmp_path: Path, override: str, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        load_config(write(tmp_path, "name: a"), [override])


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("classifier.lr=1e-3", "classifier.lr", 0.001),
        ("name=2024-01-02", "name", "2024-01-02"),
        ("name=2024-13-45", "name", "2024-13-45"),
        ("data.map_labels={0: null, 1: 2}", "data.map_labels", {"0": None, "1": "2"}),
        ("data.malignant=[0, mel]", "data.malignant", ["0", "mel"]),
        ("evaluation.melanoma=4", "evaluation.melanoma", "4"),
        ("data.map_labels={'yes': null}", "data.map_labels", {"yes": None}),
    ],
)
def test_what_people_type_is_read_as_they_mean_it(
    tmp_path: Path, override: str, key: str, value: object
) -> None:
    config = load_config(write(tmp_path, "name: a"), [override])
    found: object = config
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value
    assert parse_config(parse_yaml(dump_yaml(config), "kept")) == config


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_config(tmp_path / "nowhere.yaml")


def test_a_study_is_planned_on_one_to_three_known_figures() -> None:
    assert parse_config({}, source="here").evaluation.primary == ["malignant.auc", "log_loss"]
    for given, said in (
        ([], "at least 1 item"),
        (["accuracy", "accuracy"], "a figure is named twice: accuracy, accuracy; name each once"),
        (["f1"], "malignant.auc"),
        (["accuracy", "auc", "log_loss", "malignant.auc"], "at most 3 items"),
    ):
        with pytest.raises(ConfigError, match=said):
            parse_config({"evaluation": {"primary": given}}, source="here")


def test_what_a_study_is_planned_on_changes_no_stage() -> None:
    from engine.stages import evaluate, features, fidelity, likelihood, predict

    plain, other = (
        parse_config({"evaluation": {"primary": figures}}, source="here")
        for figures in (["accuracy"], ["log_loss"])
    )
    for stage in (evaluate, features, likelihood, predict):
        assert stage.Params.of(plain).to_json() == stage.Params.of(other).to_json()
    assert fidelity.Params.of(plain).to_json() == fidelity.Params.of(other).to_json()


def test_a_range_of_train_workers_travels_through_a_config_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("backend: {kind: ray, train_workers: [1, 4]}\n")
    config = load_config(path)
    assert (config.backend.train_workers, config.backend.most_train_workers) == ((1, 4), 4)
    path.write_text(dump_yaml(config))
    assert load_config(path) == config
    assert load_config(path, ["backend.train_workers=[2, 3]"]).backend.train_workers == (2, 3)
