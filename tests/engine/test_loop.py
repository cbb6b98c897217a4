"""The loop's order, arms, champion and stopping, on a backend that computes nothing but leaves every file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.artifacts.report_json import RoundEntry
from engine.config import Config, parse_config
from engine.errors import StageError
from engine.execution.backend import StageCall
from engine.execution.progress import QuietListener
from engine.loop import Loop
from engine.pipeline.run_report import champion_of, settled
from engine.store import RunFolder, StageCache, StageRunner
from engine.tracking.base import NullTracker
from engine.types import StopDecision, StoppingState
from policies import registry
from tests.paper_backend import PaperBackend, figure


class RecordingTracker(NullTracker):
    def __init__(self) -> None:
        self.events: list[Any] = []

    def log_round(self, report: Any, folder: Path, run_folder: Path) -> None:
        self.events.append((report["round"], report["arm"]))

    def register_champion(self, champion: Any, run_folder: Path) -> None:
        self.events.append(("champion", champion["round"], champion["arm"]))

    def finish(self, status: str, run_folder: Path) -> None:
        self.events.append(status)


def loop_of(
    tmp_path: Path,
    backend: PaperBackend,
    *,
    stopping: Any = None,
    tracker: Any = None,
    render: Callable[[Path], object] = lambda _run: None,
    **sections: Any,
) -> Loop:
    config: Config = parse_config({"name": "a", "output": str(tmp_path), **sections})
    folder = RunFolder.create(config)
    runner = StageRunner(StageCache(folder.cache_root), backend, 1, "cpu", "float32", QuietListener())
    return Loop(
        config,
        runner=runner,
        folder=folder,
        tracker=tracker or NullTracker(),
        stopping=stopping or registry.make("stopping", config.policy.stopping),
        fingerprint="f",
        render=render,
    )


def play(tmp_path: Path, backend: PaperBackend, **parts: Any) -> dict[str, Any]:
    return loop_of(tmp_path, backend, **parts).play()


def test_stages_run_in_the_order_of_the_picture(tmp_path: Path) -> None:
    backend = PaperBackend([0.5, 0.6, 0.7])
    play(tmp_path, backend, loop={"rounds": 1, "arms": ["real", "hard"]})
    fit = ["pool", "classifier", "predict", "evaluate"]
    foundation = ["embedder", "index", "vae", "latents", "denoiser", "judge", "features", "challenging"]
    synthesis = ["mine", "condition", "synthesize", "accept", "fidelity", "thumbnails"]
    expected = ["images", "split", *foundation, *fit, *synthesis, *fit, *fit[1:], "preview"]
    assert backend.names() == expected  # the plain pool of arm real is the same in every round


def test_a_caller_may_look_between_the_rounds(tmp_path: Path) -> None:
    sections = {"loop": {"rounds": 2, "arms": ["hard"]}}
    whole = play(tmp_path / "whole", PaperBackend([0.5, 0.6, 0.7]), **sections)
    tracker = RecordingTracker()
    loop = loop_of(tmp_path / "steps", PaperBackend([0.5, 0.6, 0.7]), tracker=tracker, **sections)
    loop.start()
    for number in range(3):
        decision = loop.round(number)
        published = json.loads((loop.folder.path / "report.json").read_text())
        assert [r["round"] for r in published["rounds"]] == list(range(number + 1))
        assert loop.history.reports[-1].figure("val", "auc").value == [0.5, 0.6, 0.7][number]
    report = loop.finish(decision)
    assert tracker.events[-1] == "FINISHED"
    assert [{**r, "seconds": 0} for r in report["rounds"]] == [{**r, "seconds": 0} for r in whole["rounds"]]


def test_a_run_left_between_two_rounds_says_why(tmp_path: Path) -> None:
    loop = loop_of(tmp_path, PaperBackend([0.5, 0.6]), loop={"rounds": 3, "arms": ["hard"]})
    loop.start()
    loop.round(0)
    loop.round(1)
    loop.record.publish(StopDecision(action="stop", reason="behind the others"))
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    assert report["stopping"] == {"action": "stop", "reason": "behind the others"}
    assert report["champion"]["round"] == 1


@pytest.mark.slow
def test_every_arm_has_the_same_steps_seed_and_start(tmp_path: Path) -> None:
    backend = PaperBackend([0.5] * 40)
    arms = [
        "plain", "real", "classical", "mined", "retrieved", "random", "unguided", "dcgan", "hard", "all_real"
    ]  # fmt: skip
    report = play(
        tmp_path, backend, loop={"rounds": 2, "arms": arms}, classifier={"steps": 30, "round_steps": 10}
    )
    for number in (0, 1, 2):
        entries = [r for r in report["rounds"] if r["round"] == number]
        assert {r["arm"] for r in entries} == (set(arms) if number else {"plain", "real"})
        assert {r["optimizer_steps"] for r in entries} == {30 + 10 * number}
        assert entries[0]["arm"] == ("hard" if number else "real")
    fits = backend.of("classifier")
    first, fits = fits[:2], fits[2:12]
    assert len({call.seed for call in first}) == len({call.seed for call in fits}) == 1
    starts = {call.inputs["init"]: 0 for call in fits}
    for call in fits:
        starts[call.inputs["init"]] += 1
    assert sorted(starts.values()) == [1, 9], "arm plain has a start of its own"
    assert [call.params["plain"] for call in (*first, *fits)].count(True) == 2


@pytest.mark.slow
def test_two_arms_of_a_round_differ_in_nothing_but_their_pool(tmp_path: Path) -> None:
    arms = ["real", "classical", "mined", "retrieved", "random", "unguided", "dcgan", "hard", "all_real"]
    backend = PaperBackend([0.5] * 40, accepted=2)
    play(tmp_path, backend, loop={"rounds": 2, "arms": arms}, classifier={"steps": 30, "round_steps": 10})
    last = backend.of("classifier")[-len(arms) :]
    assert len({call.inputs["pool"] for call in last}) == len(arms)
    assert len({json.dumps(call.params, sort_keys=True) for call in last}) == 1
    assert len({call.seed for call in last}) == 1


def test_further_seeds_train_on_the_same_pools_and_mine_nothing(tmp_path: Path) -> None:
    backend = PaperBackend([0.5] * 40, accepted=2)
    loop = {"rounds": 2, "seed": 7, "seeds": [3, 5], "arms": ["real", "random", "hard"]}
    report = play(tmp_path, backend, loop=loop)
    assert [len(backend.of(name)) for name in ("mine", "synthesize", "pool")] == [2, 4, 5]
    fits = backend.of("classifier")
    assert [call.seed for call in fits] == [3000, 5000] + [3001, 5001] * 3 + [3002, 5002] * 3
    for one, other in zip(fits[::2], fits[1::2], strict=True):
        assert one.inputs["pool"] == other.inputs["pool"]
        assert one.params == other.params
        assert ("init" in one.inputs) == ("init" in other.inputs)
    second = {call.out.parent.name.split(".")[0] for call in fits[1::2]}
    assert all(call.inputs["init"].name.split(".")[0] in second for call in fits[3::2]), (
        "from its own weights"
    )
    mined = {call.inputs["predictions"].name for call in backend.of("mine")}
    firsts = {call.out.parent.name.split(".")[0] for call in backend.of("predict")[::2]}
    assert mined <= firsts
    assert all({"predictions", "seed_1"} <= set(call.inputs) for call in backend.of("evaluate"))
    assert {entry["optimizer_steps"] for entry in report["rounds"] if entry["round"] == 2} == {1500 + 1200}
    for folder in ("rounds/0000", "rounds/0002", "rounds/0002/arms/random"):
        kept = {path.name for path in (tmp_path / "a" / folder / "seed_5").iterdir()}
        assert kept == {"predictions.parquet", "calibration.json", "classifier.safetensors"}
        assert not (tmp_path / "a" / folder / "seed_3").exists(), "the first lies in the arm's own folder"


def test_all_sources_choose_among_as_many_candidates_for_the_same_classifier(tmp_path: Path) -> None:
    backend = PaperBackend([0.5] * 40, accepted=2)
    loop = {
        "rounds": 2,
        "budget": 10,
        "candidates": 3,
        "arms": ["random", "unguided", "hard"],
        "compare": "last_round",
    }
    play(tmp_path, backend, loop=loop, policy={"selection": {"name": "disagreement"}})
    totals = [call.params["total"] for call in backend.of("condition")]
    assert totals == [30] * 6
    calls = backend.of("accept")
    assert [call.params["selecting"]["policy"]["name"] for call in calls].count("random") == 2
    by_round: dict[int, set[tuple[str, str]]] = {1: set(), 2: set()}
    for call in calls:
        by_round[call.params["selecting"]["round"]].add(
            (call.inputs["classifier"].name, call.inputs["predictions"].name)
        )
    assert [len(found) for found in by_round.values()] == [1, 1], (
        "an arm made later does not choose for a later classifier"
    )
    assert by_round[1] != by_round[2]


def test_one_seed_of_its_own_is_as_the_loops(tmp_path: Path) -> None:
    keys = []
    for name, loop in (("one", {"seed": 3}), ("two", {"seed": 3, "seeds": [3]})):
        backend = PaperBackend([0.5] * 20)
        play(tmp_path / name, backend, loop={"rounds": 1, **loop})
        keys.append([call.out.parent.name.split(".")[0] for call in backend.calls])
    assert keys[0] == keys[1]


def test_the_pool_of_distilled_alone_gets_the_judge(tmp_path: Path) -> None:
    backend = PaperBackend([0.5] * 20, accepted=2)
    play(tmp_path, backend, loop={"rounds": 1, "arms": ["real", "classical", "distilled", "hard"]})
    given = {call.params["arm"]: call.inputs for call in backend.of("pool")}
    assert [arm for arm, inputs in given.items() if "judge" in inputs] == ["distilled"]
    assert given["distilled"]["judge"] == backend.of("accept")[0].inputs["judge"]
    assert backend.of("pool")[-1].params["counts"] == {"mel": 2}


def test_arms_get_the_counts_that_hard_was_accepted(tmp_path: Path) -> None:
    backend = PaperBackend([0.5] * 20, accepted=2)
    play(tmp_path, backend, loop={"rounds": 2, "arms": ["classical", "random", "hard"]})
    pools = [(call.params["arm"], call.params["counts"]) for call in backend.of("pool")]
    assert pools == [
        ("real", {}), ("hard", {}), ("classical", {"mel": 2}), ("random", {"mel": 2}),
        ("hard", {}), ("classical", {"mel": 4}), ("random", {"mel": 4}),
    ]  # fmt: skip
    by_round = [call.params.get("by_round") for call in backend.of("pool")]
    assert by_round == [None] * 6 + [[{"mel": 2}, {"mel": 2}]], "of the random control, from two rounds on"
    drawn = [
        call.params["per_parent"] for call in backend.of("condition") if call.params["source"] == "random"
    ]
    assert drawn == [{"mel": [3, 2]}, {"mel": [3, 2]}]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batch_size", "kind", "chunk"), [(32, "kl", None), (64, "kl", None), (8, "kl", 8), (8, "identity", None)]
)
def test_small_batches_that_a_vae_decodes_have_keys_of_their_own(
    tmp_path: Path, batch_size: int, kind: str, chunk: int | None
) -> None:
    backend = PaperBackend([0.5] * 20, accepted=2)
    vae = {"kind": kind, **({"downsample": 1} if kind == "identity" else {})}
    play(
        tmp_path, backend, loop={"rounds": 1, "arms": ["hard"]}, synthesis={"batch_size": batch_size}, vae=vae
    )
    (call,) = backend.of("synthesize")
    assert call.params.get("vae_chunk") == chunk


def test_the_gan_gets_the_counts_parents_and_gates_of_random(tmp_path: Path) -> None:
    backend = PaperBackend([0.5] * 20, accepted=2)
    arms = ["random", "dcgan", "hard"]
    play(tmp_path, backend, loop={"rounds": 1, "arms": arms}, synthesis={"adversarial_scale": 1.0})
    assert "gan" in backend.names()
    made = {call.params["synthesis"]["generator"]: call for call in backend.of("synthesize")}
    assert set(made) == {"diffusion", "dcgan"}
    assert "gan" in made["dcgan"].inputs
    assert not {"denoiser", "vae", "classifier"} & set(made["dcgan"].inputs)
    hard, random, gan = backend.of("accept")
    assert hard.params == random.params == gan.params, "the fold that guided judges nobody"
    assert random.inputs["condition"] == gan.inputs["condition"]
    pools = {call.params["arm"]: call for call in backend.of("pool")}
    assert pools["dcgan"].params["counts"] == pools["random"].params["counts"] == {"mel": 2}
    assert pools["dcgan"].inputs["synthesize_1"] != pools["random"].inputs["synthesize_1"]


def test_synthetic_alone_trains_from_scratch_on_what_hard_was_accepted(tmp_path: Path) -> None:
    backend = PaperBackend([0.5] * 20)
    classifier = {"steps": 30, "round_init": "scratch"}
    report = play(tmp_path, backend, loop={"rounds": 1, "arms": ["synthetic", "hard"]}, classifier=classifier)
    pools = {call.params["arm"]: call for call in backend.of("pool")}
    assert pools["synthetic"].inputs == pools["hard"].inputs
    assert "init" not in backend.of("classifier")[-1].inputs
    assert {r["optimizer_steps"] for r in report["rounds"]} == {30}


SETS = {"train": 0.5, "mine": 0.0, "val": 0.1, "test": 0.4, "train_sets": {"count": 3, "images": 8, "use": 1}}


@pytest.mark.parametrize("saw", ["own", "train"])
def test_training_sets_reach_the_classifiers_stages_and_no_generator_part(tmp_path: Path, saw: str) -> None:
    backend = PaperBackend([0.5] * 20)
    loop = {"rounds": 1, "arms": ["retrieved", "hard"], "mine_from": "crossfit", "generator_saw": saw}
    report = play(tmp_path, backend, loop=loop, data={"split": SETS})
    told = {call.stage for call in backend.calls if call.params.get("train_sets") == [1]}
    assert told == {"pool", "crossfit", "mine", "condition"}
    assert ("only" in backend.of("split")[0].params) == (saw == "own")
    retrieved = next(r for r in report["rounds"] if r["arm"] == "retrieved")
    assert retrieved.get("reference", False) == (saw == "train")
    assert not any("reference" in r for r in report["rounds"] if r["arm"] != "retrieved")


@pytest.mark.slow
@pytest.mark.parametrize("saw", ["own", "train"])
def test_another_training_set_shares_the_foundation_only_where_it_may_see_the_pool(
    tmp_path: Path, saw: str
) -> None:
    loop = {"rounds": 1, "arms": ["hard"], "mine_from": "crossfit", "generator_saw": saw}
    play(tmp_path, PaperBackend([0.5] * 9), loop=loop, data={"split": SETS})
    again = PaperBackend([0.5] * 9)
    other = {**SETS, "train_sets": {"count": 3, "images": 8, "use": [0, 2]}}
    play(tmp_path, again, name="b", loop=loop, data={"split": other})
    parts = {"split", "embedder", "index", "vae", "latents", "denoiser", "judge"}
    assert parts & set(again.names()) == (parts if saw == "own" else set())
    assert {"pool", "classifier", "crossfit"} <= set(again.names())


def test_room_is_counted_on_own_images_and_ends_at_the_total(tmp_path: Path) -> None:
    backend = PaperBackend([0.5] * 9, accepted=3)
    loop = {
        "rounds": 2,
        "arms": ["random", "hard"],
        "compare": "last_round",
        "mine_from": "crossfit",
        "max_synthetic_ratio": 4.0,
        "max_synthetic": 5,
    }
    play(tmp_path, backend, loop=loop, data={"split": SETS})
    rooms = [{"mel": 4, "nv": 8}, {"mel": 1, "nv": 8}]
    assert [call.params["room"] for call in backend.of("accept")] == rooms * 2
    assert [call.params.get("most") for call in backend.of("accept")] == [5, 2, None, None], (
        "hard alone is capped"
    )


def test_accepted_images_accumulate_up_to_the_ratio(tmp_path: Path) -> None:
    backend = PaperBackend([0.5] * 9, accepted=3)
    report = play(tmp_path, backend, loop={"rounds": 3, "arms": ["hard"], "max_synthetic_ratio": 1.0})
    assert [call.params["room"]["mel"] for call in backend.of("accept")] == [4, 1, 0]
    hard = [r for r in report["rounds"] if r["arm"] == "hard"]
    assert [(r["n_generated"], r["n_accepted"], r["acceptance_rate"]) for r in hard] == [
        (5, 3, 0.6), (5, 1, 0.2), (5, 0, 0.0),
    ]  # fmt: skip
    inputs = backend.of("pool")[-1].inputs
    assert {"accept_1", "accept_2", "accept_3", "synthesize_1"} <= set(inputs)


def test_comparison_arms_may_be_trained_once_on_the_final_counts(tmp_path: Path) -> None:
    backend = PaperBackend([0.5] * 9)
    report = play(
        tmp_path, backend, loop={"rounds": 2, "arms": ["random", "hard"], "compare": "last_round"},
        classifier={"steps": 30, "round_steps": 10},
    )  # fmt: skip
    assert [(r["round"], r["arm"], r["optimizer_steps"]) for r in report["rounds"]] == [
        (0, "real", 30), (1, "hard", 40), (2, "hard", 50), (2, "random", 50),
    ]  # fmt: skip
    assert [c.params["round"] for c in backend.of("condition") if c.params["source"] == "random"] == [1, 2]
    first, second, third, fourth = backend.of("classifier")[1:]
    assert [call.seed for call in (third, fourth)] == [call.seed for call in (first, second)], (
        "hard's schedule"
    )
    assert third.inputs["init"] == first.inputs["init"], "both start from round 0"
    assert fourth.inputs["init"] not in (first.inputs["init"], second.inputs["init"]), "its own weights"
    assert {call.params["steps"] for call in (first, second, third, fourth)} == {10}
    assert third.inputs["pool"] == fourth.inputs["pool"] != second.inputs["pool"], "its final pool"


def test_from_scratch_the_arms_beside_hard_have_one_fit(tmp_path: Path) -> None:
    backend = PaperBackend([0.5] * 9)
    report = play(
        tmp_path, backend, loop={"rounds": 2, "arms": ["random", "hard"], "compare": "last_round"},
        classifier={"steps": 30, "round_init": "scratch"},
    )  # fmt: skip
    assert [(r["round"], r["arm"], r["optimizer_steps"]) for r in report["rounds"]] == [
        (0, "real", 30), (1, "hard", 30), (2, "hard", 30), (2, "random", 30),
    ]  # fmt: skip
    fits = backend.of("classifier")
    assert len(fits) == 4
    assert not any("init" in call.inputs for call in fits)
    assert fits[2].seed == fits[3].seed


def test_val_alone_picks_the_champion(tmp_path: Path) -> None:
    tracker = RecordingTracker()
    backend = PaperBackend([0.5, 0.6, 0.9, 0.7, 0.8])
    report = play(tmp_path, backend, tracker=tracker, loop={"rounds": 2, "arms": ["real", "hard"]})
    assert report["champion"]["round"] == 1
    assert report["champion"]["arm"] == "real"
    assert report["champion"]["classifier"] == "rounds/0001/arms/real/classifier.safetensors"
    assert tracker.events == [
        (0, "real"), ("champion", 0, "real"), (1, "hard"), (1, "real"), ("champion", 1, "real"),
        (2, "hard"), (2, "real"), "FINISHED",
    ]  # fmt: skip


def test_no_round_after_the_kept_one_is_champion() -> None:
    scores = [(0, "real", 0.5), (1, "hard", 0.6), (1, "real", 0.4), (2, "hard", 0.7), (2, "real", 0.8)]
    rounds = [RoundEntry(round=n, arm=arm, val={"auc": figure(value)}) for n, arm, value in scores]
    crowned = [champion_of(rounds, "auc", kept) for kept in (None, 2, 1, 0)]
    assert [(c.round, c.arm) for c in crowned] == [(2, "real"), (2, "real"), (1, "hard"), (0, "real")]


def test_a_roll_back_without_a_round_gives_up_the_one_just_finished() -> None:
    def keeps(action: str, kept: int | None) -> int | None:
        return settled(StopDecision(action=action, reason="r", keep_round=kept), 3).keep_round

    assert [keeps("roll_back", kept) for kept in (None, 0, 2)] == [2, 0, 2]
    assert keeps("stop", None) is None and keeps("continue", 1) is None
    for kept in (3, -1):
        with pytest.raises(StageError, match=f"to round {kept}; keep_round must be an earlier round, 0 to 2"):
            keeps("roll_back", kept)


class Falling(PaperBackend):
    """Malignant specificity on val of each classifier, besides the watched figure."""

    specificity = (0.90, 0.91, 0.85)

    def _evaluate(self, call: StageCall) -> None:
        super()._evaluate(call)
        number = int((call.inputs["predictions"] / "number.txt").read_text())
        report = json.loads((call.out / "report.json").read_text())
        report["val"]["malignant"] = {"specificity": figure(self.specificity[number])}
        (call.out / "report.json").write_text(json.dumps(report))


def test_a_round_that_is_rolled_back_is_never_champion(tmp_path: Path) -> None:
    tracker = RecordingTracker()
    parts = {
        "loop": {"rounds": 4, "arms": ["hard"]},
        "policy": {"stopping": {"name": "specificity_guard"}},
    }
    report = play(tmp_path, Falling([0.5, 0.6, 0.7]), tracker=tracker, **parts)
    reason = "specificity fell to 0.850 (bound 0.880); back to round 1"
    assert report["stopping"] == {"action": "roll_back", "reason": reason, "keep_round": 1}
    assert [r["round"] for r in report["rounds"]] == [0, 1, 2]
    assert (report["champion"]["round"], report["champion"]["value"]) == (1, 0.6)
    assert [e for e in tracker.events if e[0] == "champion"] == [
        ("champion", 0, "real"),
        ("champion", 1, "hard"),
    ]
    assert play(tmp_path, Falling([]), **parts) == report


def test_a_rerun_leaves_an_early_champion_that_a_roll_back_went_back_to(tmp_path: Path) -> None:
    stopping = {"name": "patience", "rounds": 2, "min_delta": 0.02}
    parts: dict[str, Any] = {"loop": {"rounds": 4, "arms": ["hard"]}, "policy": {"stopping": stopping}}
    first, again = RecordingTracker(), RecordingTracker()
    report = play(tmp_path, PaperBackend([0.50, 0.51, 0.52]), tracker=first, **parts)
    assert [e[1] for e in first.events if e[0] == "champion"] == [0, 1, 0]
    assert (report["champion"]["round"], report["champion"]["after_round"]) == (0, 2)
    assert play(tmp_path, PaperBackend([]), tracker=again, **parts) == report
    assert not [e for e in again.events if e[0] == "champion"]


def test_a_tie_goes_to_the_earlier_round(tmp_path: Path) -> None:
    report = play(tmp_path, PaperBackend([0.5] * 3), loop={"rounds": 2, "arms": ["hard"]})
    assert report["champion"]["round"] == 0


def test_mining_from_test_is_leaky_and_crowns_nobody(tmp_path: Path) -> None:
    report = play(
        tmp_path, PaperBackend([0.5] * 3), loop={"rounds": 1, "arms": ["hard"], "mine_from": "test"}
    )
    assert report["protocol"] == "leaky"
    assert [r["protocol"] for r in report["rounds"]] == ["leaky", "leaky"]
    own = json.loads((tmp_path / "a" / "rounds" / "0001" / "report.json").read_text())
    assert own["protocol"] == "leaky"
    assert report["champion"] is None
    assert not (tmp_path / "a" / "champion.json").exists()


def test_crossfit_mines_out_of_fold_predictions(tmp_path: Path) -> None:
    backend = PaperBackend([0.5] * 3)
    play(tmp_path, backend, loop={"rounds": 1, "arms": ["hard"], "mine_from": "crossfit"})
    mine = backend.of("mine")[0]
    assert mine.inputs["predictions"].name.startswith("crossfit-")


def test_crossfit_of_a_later_round_trains_on_what_was_accepted(tmp_path: Path) -> None:
    backend = PaperBackend([0.5] * 9)
    loop = {"rounds": 2, "mine_from": "crossfit", "arms": ["hard"]}
    play(tmp_path, backend, loop=loop, data={"split": {"train": 0.7, "mine": 0.0, "val": 0.1, "test": 0.2}})
    first, second = backend.of("crossfit")
    mined, again = backend.of("mine")
    assert not any(role.startswith("history") for role in mined.inputs)
    assert again.inputs["history_0"] == mined.inputs["predictions"], "medium_hard averages over rounds"
    assert again.inputs["predictions"].name != again.inputs["history_0"].name
    assert set(first.inputs) == {"images", "split"}
    assert set(second.inputs) == {"images", "split", "accept_1", "synthesize_1"}


@pytest.mark.slow
def test_another_mix_trains_what_has_added_images_and_mines_nothing_again(tmp_path: Path) -> None:
    loop = {"rounds": 2, "arms": ["real", "random", "hard"], "mine_from": "crossfit"}
    split = {"train": 0.7, "mine": 0.0, "val": 0.1, "test": 0.2}
    play(tmp_path, PaperBackend([0.5] * 9), loop=loop, data={"split": split})
    again = PaperBackend([0.5] * 9)
    mixed = {"mix": {"share": 0.5}}
    play(tmp_path, again, name="b", loop=loop, data={"split": split}, classifier=mixed)
    fits = again.of("classifier")
    assert fits
    assert not any(call.params["plain"] for call in fits), "arm real adds nothing"
    assert {call.params["classifier"]["mix"]["share"] for call in fits} == {0.5}
    assert len(again.of("crossfit")) == 1, "the second round's, which trains on what was accepted"
    assert "images" not in again.names()


def test_a_stopping_policy_sees_val_and_ends_the_run(tmp_path: Path) -> None:
    seen: list[StoppingState] = []

    class Stop:
        def decide(self, state: StoppingState) -> StopDecision:
            seen.append(state)
            return StopDecision(action="stop", reason="enough")

    backend = PaperBackend([0.5, 0.25, 0.75])
    report = play(
        tmp_path,
        backend,
        stopping=Stop(),
        loop={"rounds": 5, "arms": ["real", "hard"], "compare": "last_round"},
    )
    assert seen[0].values == (0.5, 0.25)
    assert [(r["round"], r["arm"]) for r in report["rounds"]] == [(0, "real"), (1, "hard"), (1, "real")]
    assert report["stopping"] == {"action": "stop", "reason": "enough"}


def test_the_next_round_mines_with_the_hard_arm(tmp_path: Path) -> None:
    backend = PaperBackend([0.5] * 9)
    play(tmp_path, backend, loop={"rounds": 2, "arms": ["real", "hard"]})
    first, second = backend.of("mine")
    number = {
        call.params["round"]: (call.inputs["predictions"] / "number.txt").read_text()
        for call in (first, second)
    }
    assert number == {1: "0", 2: "1"}  # classifier 1 is round 1's hard arm
    assert "history_0" in second.inputs


@pytest.mark.slow
def test_a_rerun_computes_nothing_and_reports_the_same(tmp_path: Path) -> None:
    loop = {"rounds": 2, "arms": ["real", "random", "hard"]}
    first = play(tmp_path, PaperBackend([0.5] * 9), loop=loop)
    again = PaperBackend([])
    assert play(tmp_path, again, loop=loop) == first
    assert again.calls == []


def test_a_failed_run_says_so_and_keeps_what_it_has(tmp_path: Path) -> None:
    class Dies(PaperBackend):
        def _synthesize(self, call: StageCall) -> None:
            raise RuntimeError("of no known kind")

    tracker = RecordingTracker()
    with pytest.raises(RuntimeError, match="of no known kind"):
        play(tmp_path, Dies([0.5] * 9), tracker=tracker, loop={"rounds": 1, "arms": ["hard"]})
    assert tracker.events[-1] == "FAILED"
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    assert [r["round"] for r in report["rounds"]] == [0]
    assert report["stopping"]["action"] == "failed"


def test_a_page_that_cannot_be_drawn_is_said_but_never_hides_what_stopped_the_run(tmp_path: Path) -> None:
    def render(_run: Path) -> None:
        raise ZeroDivisionError("the page")

    tracker = RecordingTracker()
    with pytest.raises(ZeroDivisionError, match="the page"):
        play(tmp_path, PaperBackend([0.5] * 9), tracker=tracker, render=render, loop={"rounds": 1})
    assert tracker.events[-1] == "FINISHED"
    assert (tmp_path / "a" / "report.json").exists()

    class Failing(PaperBackend):
        def _predict(self, call: StageCall) -> None:
            raise RuntimeError("the run")

    with pytest.raises(RuntimeError, match="the run"):
        play(tmp_path / "b", Failing([0.5]), tracker=tracker, render=render)
    assert tracker.events[-1] == "FAILED"


def test_another_loop_seed_shares_the_foundation(tmp_path: Path) -> None:
    play(tmp_path, PaperBackend([0.5] * 9), loop={"rounds": 1, "arms": ["hard"]})
    backend = PaperBackend([0.5] * 9)
    play(tmp_path, backend, name="b", loop={"rounds": 1, "arms": ["hard"], "seed": 1})
    assert not {"images", "split", "embedder", "index", "vae", "latents", "denoiser", "judge"} & set(
        backend.names()
    )
    assert "classifier" in backend.names()


def test_a_resumed_run_keeps_its_later_champion(tmp_path: Path) -> None:
    loop = {"rounds": 2, "arms": ["hard"]}
    play(tmp_path, PaperBackend([0.5, 0.9, 0.6]), loop=loop)
    tracker = RecordingTracker()
    play(tmp_path, PaperBackend([]), tracker=tracker, loop=loop)
    assert not [event for event in tracker.events if event[0] == "champion"]
    assert json.loads((tmp_path / "a" / "champion.json").read_text())["round"] == 1


def test_budget_policies_see_sensitivity_and_past_gains(tmp_path: Path) -> None:
    backend = PaperBackend([0.5, 0.75, 0.9])
    play(tmp_path, backend, loop={"rounds": 2, "arms": ["hard"]})
    first, second = (call.params for call in backend.of("condition"))
    assert (first["sensitivity"], first["gain_history"]) == ({"mel": 0.5, "nv": 0.5}, [])
    assert (second["sensitivity"], second["gain_history"]) == (
        {"mel": 0.75, "nv": 0.75}, [{"mel": 0.25, "nv": 0.25}],
    )  # fmt: skip
