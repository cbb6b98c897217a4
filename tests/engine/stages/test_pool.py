"""What each arm trains on, row by row."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from engine.config import parse_config
from engine.errors import DataError, StageError
from engine.parts.context import numbered
from engine.parts.dataset import open_dataset
from engine.stages import pool
from engine.stages.pool import repeat_evenly
from tests.fakes import add_train_sets, make_dataset_folders, run_stage

CONFIG = parse_config({})
SECOND_SET = parse_config({"data": {"split": {"train_sets": {"count": 2, "images": 1, "use": 1}}}})


@pytest.fixture
def inputs(tmp_path):
    images, split = make_dataset_folders(tmp_path)
    return {"images": images, "split": split}


def run(tmp_path, inputs, arm, counts=None, seed=0, name="out", **synthesis):
    config = parse_config({"synthesis": synthesis}) if synthesis else CONFIG
    params = pool.Params.of(config, arm, counts if isinstance(counts, list) else [counts or {}])
    run_stage(pool, tmp_path / name, inputs, params, seed=seed)
    frame = pd.read_parquet(tmp_path / name / "pool.parquet")
    return (
        frame,
        np.load(tmp_path / name / "extra.npy"),
        json.loads((tmp_path / name / "pool.json").read_text()),
    )


def ids(inputs, part, dx=None):
    table = open_dataset(inputs["images"], inputs["split"]).table
    return [
        str(i)
        for i, s, d in zip(table.image_id, table.split, table.dx, strict=True)
        if s == part and dx in (None, d)
    ]


def added(frame, inputs):
    return frame.iloc[len(ids(inputs, "train")) :]


def synthetic_round(tmp_path, number, labels, accepted, parents=None, judged=None):
    """Accept and synthesize folders of one round; image k of round r is filled with 10 r + k, its parent is p<k>.

    ``judged`` are the judge's calibrated probabilities of bkl, mel and nv.
    """
    accept, synthesize = tmp_path / f"accept{number}", tmp_path / f"synthesize{number}"
    accept.mkdir()
    synthesize.mkdir()
    names = [f"r{number}-{k}" for k in range(len(labels))]
    parents = parents or [f"p{k}" for k in range(len(labels))]
    columns = {"sample_id": names, "parent_image_id": parents, "dx": labels, "accepted": accepted}
    frame = pd.DataFrame(columns)
    if judged is not None:
        frame["judge_prob"] = judged
        classes = {"per_class": {}, "classes": ["bkl", "mel", "nv"]}
        (accept / "accept.json").write_text(json.dumps(classes))
    frame.to_parquet(accept / "synthetic.parquet")
    values = [np.full((16, 16, 3), 10 * number + k, np.uint8) for k in range(len(labels))]
    np.save(synthesize / "images.npy", np.stack(values))
    return {f"accept_{number}": accept, f"synthesize_{number}": synthesize}


def test_real_is_train_and_nothing_else(tmp_path, inputs):
    frame, extra, contents = run(tmp_path, inputs, "real")
    assert list(frame.columns) == ["source", "row", "image_id", "dx", "origin"]
    assert frame["image_id"].tolist() == ids(inputs, "train")
    table = pd.read_parquet(inputs["images"] / "table.parquet")
    assert table["image_id"].iloc[frame["row"]].tolist() == frame["image_id"].tolist()
    assert extra.shape == (0, 16, 16, 3)
    assert (contents["n_real"], contents["n_synthetic"], contents["n_rows"]) == (21, 0, 21)
    assert contents["counts"] == {dx: len(ids(inputs, "train", dx)) for dx in ("bkl", "mel", "nv")}


def test_with_training_sets_the_chosen_ones_are_its_own(tmp_path, inputs):
    split = add_train_sets(inputs["split"], tmp_path / "sets")
    given = {**inputs, "split": split}
    table = pd.read_parquet(split / "split.parquet")
    own = table.loc[table["train_set"] == 1, "image_id"].tolist()
    assert 0 < len(own) < 21
    for arm, counts in (("real", {}), ("classical", {"nv": 9})):
        run_stage(pool, tmp_path / arm, given, pool.Params.of(SECOND_SET, arm, [counts]))
        frame = pd.read_parquet(tmp_path / arm / "pool.parquet")
        assert frame["image_id"].tolist()[: len(own)] == own
        assert set(frame["image_id"]) == set(own)
        assert len(frame) == len(own) + sum(counts.values())


def test_synthetic_trains_on_accepted_images_alone(tmp_path, inputs):
    given = {**inputs, **synthetic_round(tmp_path, 1, ["mel", "nv", "mel"], [True, False, True])}
    frame, extra, contents = run(tmp_path, given, "synthetic")
    assert frame["image_id"].tolist() == ["r1-0", "r1-2"]
    assert len(extra) == 2
    assert (contents["n_real"], contents["n_synthetic"], contents["n_rows"]) == (0, 2, 2)


def test_the_gan_stops_at_the_counts_too(tmp_path, inputs):
    given = {**inputs, **synthetic_round(tmp_path, 1, ["mel", "mel", "nv"], [True, True, True])}
    frame, _, contents = run(tmp_path, given, "dcgan", {"mel": 1, "bkl": 1})
    assert added(frame, inputs)["image_id"].tolist() == ["r1-0"]
    assert contents["short"] == {"bkl": 1}


def test_all_real_adds_the_mine_split(tmp_path, inputs):
    frame, _, contents = run(tmp_path, inputs, "all_real")
    assert added(frame, inputs)["image_id"].tolist() == ids(inputs, "mine")
    assert contents["n_real"] == 30


def test_hard_adds_accepted_images_of_every_round(tmp_path, inputs):
    given = {
        **inputs,
        **synthetic_round(tmp_path, 2, ["mel", "nv"], [True, True]),
        **synthetic_round(tmp_path, 1, ["mel", "nv", "mel"], [True, False, True]),
    }
    frame, extra, contents = run(tmp_path, given, "hard")
    new = added(frame, inputs)
    assert new["image_id"].tolist() == ["r1-0", "r1-2", "r2-0", "r2-1"]
    assert extra[:, 0, 0, 0].tolist() == [10, 12, 20, 21]
    assert new["row"].tolist() == [0, 1, 2, 3]
    assert set(new["source"]) == {"extra"}
    assert set(new["origin"]) == {"synthetic"}
    assert (contents["n_synthetic"], contents["n_real"], contents["added"]["mel"]) == (4, 21, 3)


def test_random_stops_at_the_counts(tmp_path, inputs):
    given = {
        **inputs,
        **synthetic_round(tmp_path, 1, ["mel", "mel", "nv"], [True, True, True]),
        **synthetic_round(tmp_path, 2, ["mel", "mel"], [True, True]),
    }
    frame, extra, contents = run(tmp_path, given, "random", [{"mel": 1, "bkl": 2}, {"mel": 2}])
    assert added(frame, inputs)["image_id"].tolist() == ["r1-0", "r2-0", "r2-1"], "of each round as hard has"
    assert extra[:, 0, 0, 0].tolist() == [10, 20, 21]
    assert contents["short"] == {"bkl": 2}


PAIRS = ["a", "a", "b", "b", "c", "c"]


@pytest.mark.parametrize("arm", ["random", "unguided", "dcgan"])
def test_a_control_that_passes_the_gates_more_often_has_as_many_rounds_and_parents_as_hard(
    tmp_path, inputs, arm
):
    """Hard keeps one image of each of three parents per round; of the control all six pass in either round."""
    later = [f"{name}2" for name in PAIRS]
    given = {
        **inputs,
        **synthetic_round(tmp_path, 1, ["mel"] * 6, [True] * 6, PAIRS),
        **synthetic_round(tmp_path, 2, ["mel"] * 6, [True] * 6, later),
    }
    frame, _, _ = run(tmp_path, given, arm, [{"mel": 3}, {"mel": 3}])
    assert added(frame, inputs)["image_id"].tolist() == ["r1-0", "r1-2", "r1-4", "r2-0", "r2-2", "r2-4"]


def test_the_first_round_is_filled_no_further_by_a_total_of_several_classes(tmp_path, inputs):
    given = {
        **inputs,
        **synthetic_round(tmp_path, 1, ["mel", "nv", "bkl"], [True] * 3),
        **synthetic_round(tmp_path, 2, ["nv", "nv", "bkl"], [True] * 3),
    }
    frame, _, _ = run(tmp_path, given, "unguided", [{"mel": 1}, {"mel": 1, "nv": 1}])
    assert added(frame, inputs)["image_id"].tolist() == ["r1-0", "r2-0", "r2-1"]


def test_counts_of_other_rounds_than_those_with_images_are_refused(tmp_path, inputs):
    given = {**inputs, **synthetic_round(tmp_path, 1, ["mel"], [True])}
    with pytest.raises(StageError, match="by_round: is for 2 rounds, and 1 have images"):
        run(tmp_path, given, "random", [{"mel": 1}, {"mel": 1}])


def test_one_round_has_no_key_of_rounds():
    one = pool.Params.of(CONFIG, "random", [{"nv": 1, "mel": 2}]).to_json()
    assert one == {"arm": "random", "counts": {"mel": 2, "nv": 1}}
    two = [{"mel": 2}, {"mel": 1}]
    assert pool.Params.of(CONFIG, "random", two).to_json() == {
        "arm": "random", "counts": {"mel": 3}, "by_round": two
    }  # fmt: skip
    assert "by_round" not in pool.Params.of(CONFIG, "classical", two).to_json(), "it repeats images"


def test_random_loses_no_parent_where_there_are_too_many(tmp_path, inputs):
    parents = ["a", "a", "a", "b", "b", "c"]
    given = {**inputs, **synthetic_round(tmp_path, 1, ["mel"] * 6, [True] * 6, parents)}
    frame, _, _ = run(tmp_path, given, "random", {"mel": 4})
    assert added(frame, inputs)["image_id"].tolist() == ["r1-0", "r1-1", "r1-3", "r1-5"]


def test_no_accepted_image_is_an_empty_addition(tmp_path, inputs):
    frame, extra, _ = run(tmp_path, {**inputs, **synthetic_round(tmp_path, 1, ["mel"], [False])}, "hard")
    assert len(frame) == 21
    assert extra.shape == (0, 16, 16, 3)


def test_classical_repeats_train_evenly(tmp_path, inputs):
    members = ids(inputs, "train", "mel")
    frame, _, contents = run(tmp_path, inputs, "classical", {"mel": 2 * len(members) + 1, "nv": 2})
    new = added(frame, inputs)
    times = new.loc[new["dx"] == "mel", "image_id"].value_counts()
    assert set(times.index) == set(members)
    assert sorted(times) == [2] * (len(members) - 1) + [3]
    assert (new["dx"] == "nv").sum() == new.loc[new["dx"] == "nv", "image_id"].nunique() == 2
    assert (contents["n_real"], contents["n_rows"]) == (21, 21 + 2 * len(members) + 3)


def test_seed_draws_the_remainder(tmp_path, inputs):
    drawn = [run(tmp_path, inputs, "classical", {"mel": 3}, seed=s, name=f"o{s}")[0] for s in range(4)]
    again = run(tmp_path, inputs, "classical", {"mel": 3}, seed=0, name="again")[0]
    pd.testing.assert_frame_equal(again, drawn[0])
    assert len({tuple(added(d, inputs)["image_id"]) for d in drawn}) > 1


def write_mined(folder, names):
    folder.mkdir()
    pd.DataFrame({"image_id": names}).to_parquet(folder / "hard_cases.parquet")
    return folder


def test_mined_repeats_hard_cases_and_says_which_class_had_none(tmp_path, inputs):
    mel, nv = ids(inputs, "mine", "mel")[:2], ids(inputs, "mine", "nv")[:1]
    given = {
        **inputs,
        "mine_1": write_mined(tmp_path / "m1", [mel[0], nv[0]]),
        "mine_2": write_mined(tmp_path / "m2", [mel[0], mel[1]]),
    }
    frame, _, contents = run(tmp_path, given, "mined", {"mel": 4, "nv": 2, "bkl": 3})
    new = added(frame, inputs)
    assert new["image_id"].value_counts().to_dict() == {mel[0]: 2, mel[1]: 2, nv[0]: 2}
    assert contents["short"] == {"bkl": 3}
    assert (contents["n_real"], contents["added"]) == (24, {"bkl": 0, "mel": 4, "nv": 2})


def test_retrieved_repeats_neighbours(tmp_path, inputs):
    nv, mel = ids(inputs, "train", "nv")[:2], ids(inputs, "train", "mel")[:1]
    folder = tmp_path / "condition"
    folder.mkdir()
    rows = pd.DataFrame({"image_id": ["a", "b"], "neighbour_ids": [[nv[0], nv[1]], [mel[0], ""]]})
    rows.to_parquet(folder / "neighbours.parquet")
    frame, _, contents = run(tmp_path, {**inputs, "condition_1": folder}, "retrieved", {"nv": 2, "mel": 2})
    assert added(frame, inputs)["image_id"].value_counts().to_dict() == {nv[0]: 1, nv[1]: 1, mel[0]: 2}
    assert contents["n_real"] == 21, "neighbours are train images"


def test_repeat_evenly_by_hand():
    assert repeat_evenly(np.array([7]), 3, 0).tolist() == [7, 7, 7]
    assert repeat_evenly(np.array([4, 5]), 4, 0).tolist() == [4, 5, 4, 5]
    assert repeat_evenly(np.array([4, 5]), 0, 0).tolist() == []


def test_rounds_are_taken_by_number_not_by_name(tmp_path):
    found = numbered(
        {"mine_10": tmp_path / "b", "mine_9": tmp_path / "a", "images": tmp_path, "mine": tmp_path}, "mine"
    )
    assert [p.name for p in found] == ["a", "b"]


def test_unknown_arm(tmp_path, inputs):
    odd = pool.Params.of(CONFIG, "real", []).model_copy(update={"arm": "odd"})
    with pytest.raises(StageError, match="'odd' has no pool; the arms are plain"):
        run_stage(pool, tmp_path / "out", inputs, odd)


def test_val_images_never_train(tmp_path, inputs):
    given = {**inputs, "mine_1": write_mined(tmp_path / "m", ids(inputs, "val")[:1])}
    with pytest.raises(DataError, match="images of val, which never train"):
        run(tmp_path, given, "mined", {"mel": 1})


def test_unknown_image_is_named(tmp_path, inputs):
    given = {**inputs, "mine_1": write_mined(tmp_path / "m", ["ISIC_X"])}
    with pytest.raises(DataError, match=r"hard_cases.parquet names image_id 'ISIC_X'"):
        run(tmp_path, given, "mined", {"mel": 1})


def test_images_and_table_must_agree(tmp_path, inputs):
    given = {**inputs, **synthetic_round(tmp_path, 1, ["mel"], [True])}
    np.save(given["synthesize_1"] / "images.npy", np.zeros((2, 16, 16, 3), np.uint8))
    with pytest.raises(DataError, match=r"1 rows but images\.npy 2 images"):
        run(tmp_path, given, "hard")


JUDGED = [[0.25, 0.5, 0.25], [0.1, 0.1, 0.8], [0.0, 0.36, 0.64], [0.2, 0.3, 0.5]]


def judged_rounds(tmp_path, inputs):
    """Two rounds whose samples the judge has seen; r1-1 is rejected."""
    return {
        **inputs,
        **synthetic_round(tmp_path, 1, ["mel", "nv"], [True, False], judged=JUDGED[:2]),
        **synthetic_round(tmp_path, 2, ["mel", "bkl"], [True, True], judged=JUDGED[2:]),
    }


@pytest.mark.parametrize("arm", ["hard", "random", "unguided", "dcgan", "synthetic"])
def test_soft_labels_are_the_judge_s_of_accepted_images_and_real_ones_stay_hard(tmp_path, inputs, arm):
    given = judged_rounds(tmp_path, inputs)
    frame, _, contents = run(tmp_path, given, arm, [{"mel": 1}, {"mel": 1, "bkl": 1}], labels="soft")
    new = frame[frame["origin"] == "synthetic"]
    assert new["image_id"].tolist() == ["r1-0", "r2-0", "r2-1"]
    assert [label.tolist() for label in new["label"]] == [
        pytest.approx(JUDGED[at], abs=1e-9) for at in (0, 2, 3)
    ]
    assert all(len(label) == 0 for label in frame.loc[frame["origin"] == "real", "label"])
    assert contents["classes"] == ["bkl", "mel", "nv"]
    assert "weight" not in frame


def test_a_label_by_hand(tmp_path, inputs):
    """Temperature 2 takes square roots: (0, 0.6, 0.8) / 1.4; a quarter is kept for mel."""
    given = judged_rounds(tmp_path, inputs)
    frame, _, _ = run(tmp_path, given, "hard", labels="soft", label_temperature=2.0, label_share=0.25)
    label = frame.loc[frame["image_id"] == "r2-0", "label"].iloc[0]
    assert label == pytest.approx([0.0, 0.75 * 0.6 / 1.4 + 0.25, 0.75 * 0.8 / 1.4], abs=1e-5)
    whole, _, _ = run(tmp_path, given, "hard", name="whole", labels="soft", label_share=1.0)
    assert whole.loc[whole["image_id"] == "r2-0", "label"].iloc[0].tolist() == [0.0, 1.0, 0.0]


def test_weights_are_those_of_synthetic_images(tmp_path, inputs):
    given = {**inputs, **synthetic_round(tmp_path, 1, ["mel", "nv"], [True, True])}
    frame, _, contents = run(tmp_path, given, "hard", weight=0.5)
    assert frame["weight"].tolist() == [1.0] * 21 + [0.5] * 2
    assert "label" not in frame and "classes" not in contents
    alone, _, _ = run(tmp_path, given, "classical", {"mel": 2}, name="classical", weight=0.5)
    assert "weight" not in alone, "repeats are real images"


@pytest.mark.parametrize("arm", ["real", "plain", "classical", "mined", "retrieved", "all_real"])
@pytest.mark.parametrize("synthesis", [{"labels": "soft"}, {"weight": 2.0}, {"label_temperature": 3.0}])
def test_arms_without_synthetic_images_are_the_same_whatever_the_labels(arm, synthesis):
    other = parse_config({"synthesis": synthesis})
    assert (
        pool.Params.of(other, arm, [{"mel": 1}]).to_json()
        == pool.Params.of(CONFIG, arm, [{"mel": 1}]).to_json()
    )


def test_params_of_hard_labels_hold_no_key_of_soft_ones():
    plain = pool.Params.of(CONFIG, "hard", []).to_json()
    assert plain == {"arm": "hard", "counts": {}}
    unused = parse_config({"synthesis": {"label_temperature": 3.0, "label_share": 0.5}})
    assert pool.Params.of(unused, "hard", []).to_json() == plain, "hard labels have no temperature"
    soft = parse_config({"synthesis": {"labels": "soft", "label_share": 0.5}})
    labels = {"temperature": 1.0, "share": 0.5, "weight": 1.0}
    assert pool.Params.of(soft, "hard", []).to_json() == {**plain, "labels": labels}


def test_without_an_accepted_image_there_is_no_label(tmp_path, inputs):
    rows = synthetic_round(tmp_path, 1, ["mel"], [False], judged=JUDGED[:1])
    frame, _, contents = run(tmp_path, {**inputs, **rows}, "hard", labels="soft", weight=0.5)
    assert list(frame.columns) == ["source", "row", "image_id", "dx", "origin"]
    assert "classes" not in contents


def test_soft_labels_of_an_earlier_version_s_round_are_refused(tmp_path, inputs):
    given = {**inputs, **synthetic_round(tmp_path, 1, ["mel"], [True], judged=JUDGED[:1])}
    frame = pd.read_parquet(given["accept_1"] / "synthetic.parquet")
    frame.drop(columns="judge_prob").to_parquet(given["accept_1"] / "synthetic.parquet")
    with pytest.raises(DataError, match=r"synthetic\.parquet: lacks column judge_prob; rerun"):
        run(tmp_path, given, "hard", labels="soft")
    for classes, named in ([], "unknown"), (["bkl", "nv", "mel"], "bkl, nv, mel"):
        facts = {"per_class": {}, "classes": classes}
        (given["accept_1"] / "accept.json").write_text(json.dumps(facts))
        with pytest.raises(
            DataError,
            match=rf"accept\.json is for classes {named}, the data's are bkl, mel, nv; rerun accept",
        ):
            run(tmp_path, given, "hard", labels="soft")


def write_out_of_fold(folder, names, temperature=1.0):
    """A judge that said of its n-th image mel with 0.36, nv with 0.64, and of every other one the reverse."""
    folder.mkdir()
    mel = [0.36 if at % 2 == 0 else 0.64 for at in range(len(names))]
    frame = pd.DataFrame({"image_id": names, "fold": 0, "dx": "mel", "p_bkl": 0.0, "p_mel": mel,
                          "p_nv": 1 - np.array(mel)})  # fmt: skip
    frame.to_parquet(folder / "oof.parquet")
    facts = {"model": "m", "folds": 2, "classes": ["bkl", "mel", "nv"], "oof_accuracy": 1.0, "oof_recall": {},
             "val_accuracy": 1.0, "val_recall": {}, "thresholds": {}, "temperature": temperature}  # fmt: skip
    (folder / "judge.json").write_text(json.dumps(facts))
    return folder


def test_distilled_repeats_own_images_with_the_judge_s_labels(tmp_path, inputs):
    names = ids(inputs, "train")
    given = {**inputs, "judge": write_out_of_fold(tmp_path / "judge", names, temperature=2.0)}
    frame, extra, contents = run(tmp_path, given, "distilled", {"mel": 9, "nv": 2})
    repeats, _, _ = run(tmp_path, inputs, "classical", {"mel": 9, "nv": 2}, name="classical")
    assert frame[repeats.columns.tolist()].equals(repeats), "the images are those of classical"
    first = {True: [0.0, 0.6 / 1.4, 0.8 / 1.4], False: [0.0, 0.8 / 1.4, 0.6 / 1.4]}
    for name, label in zip(frame["image_id"][21:], frame["label"][21:], strict=True):
        assert label == pytest.approx(first[names.index(name) % 2 == 0], abs=1e-5), (
            "at the judge's temperature"
        )
    assert all(len(label) == 0 for label in frame["label"][:21])
    assert (len(extra), contents["added"], contents["classes"]) == (
        0,
        {"bkl": 0, "mel": 9, "nv": 2},
        ["bkl", "mel", "nv"],
    )


def test_distilled_is_soft_whatever_the_config_s_labels_and_shares_their_settings():
    hard = parse_config({"synthesis": {"label_temperature": 2.0, "label_share": 0.5, "weight": 3.0}})
    soft = parse_config(
        {"synthesis": {"labels": "soft", "label_temperature": 2.0, "label_share": 0.5, "weight": 3.0}}
    )
    expected = {"temperature": 2.0, "share": 0.5, "weight": 1.0}
    for config in (hard, soft):
        assert pool.Params.of(config, "distilled", [{"mel": 1}]).to_json()["labels"] == expected
    assert pool.Params.of(soft, "hard", []).to_json()["labels"] == {**expected, "weight": 3.0}


def test_a_judge_that_has_not_seen_an_own_image(tmp_path, inputs):
    names = ids(inputs, "train")
    given = {**inputs, "judge": write_out_of_fold(tmp_path / "judge", names[1:])}
    with pytest.raises(
        DataError, match=rf"oof\.parquet lacks image_id {names[0]} \(\d+ in all\); rerun the judge"
    ):
        run(tmp_path, given, "distilled", {"bkl": 30, "mel": 30, "nv": 30})
