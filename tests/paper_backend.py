"""A backend that computes nothing but leaves every file by the contract, for tests of the loop and of cache keys."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pandas as pd

from engine.artifacts import asked, oracle
from engine.artifacts.decoded_images import DataFacts
from engine.artifacts.generator_parts import LikelihoodFacts
from engine.artifacts.pool import PoolFacts
from engine.artifacts.split import SplitFacts
from engine.execution.backend import StageCall
from engine.training.plan import Progress
from engine.types import strings

CLASSES = ("mel", "nv")


def figure(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def metrics(value: float) -> dict[str, Any]:
    names = ("accuracy", "balanced_accuracy", "macro_f1", "auc", "ece")
    per_class = {dx: {"sensitivity": figure(value), "specificity": figure(value)} for dx in CLASSES}
    return {**{n: figure(value) for n in names}, "per_class": per_class}


class PaperBackend:
    """Writes the files of each stage by the contract; ``val`` gives the val figure of each trained classifier."""

    def __init__(self, val: list[float], accepted: int = 3) -> None:
        self.calls: list[StageCall] = []
        self.val = val
        self.accepted = accepted

    def run(self, call: StageCall, progress: Progress) -> None:
        self.calls.append(call)
        getattr(self, f"_{call.stage}", self._nothing)(call)

    def close(self) -> None:
        pass

    def names(self) -> list[str]:
        return [call.stage for call in self.calls]

    def of(self, stage: str) -> list[StageCall]:
        return [call for call in self.calls if call.stage == stage]

    def _nothing(self, call: StageCall) -> None:
        (call.out / "done.txt").write_text(f"{call.params}{call.seed}{sorted(call.inputs)}")

    def _images(self, call: StageCall) -> None:
        facts = DataFacts(
            classes=CLASSES,
            n_images=40,
            n_lesions=20,
            counts={"mel": 10, "nv": 30},
            grouped_by="lesion",
            masks={},
            masks_degenerate=0,
            skipped=(),
            image_size=16,
            digest="d",
        )
        facts.write(call.out)

    def _split(self, call: StageCall) -> None:
        frame = pd.DataFrame(
            {
                "image_id": list("abcd"),
                "lesion_id": list("abcd"),
                "dx": ["nv", "nv", "mel", "mel"],
                "split": "train",
                "row": range(4),
            }
        )
        if "train_sets" in call.params["split"]:
            frame["train_set"] = [1, 1, 1, 0]
        frame.to_parquet(call.out / "split.parquet")
        if "hide_labels" in call.params["split"]:
            oracle.write({f"q{number}": CLASSES[number % 2] for number in range(9)}, call.out)
        counts = {"train": {"mel": 4, "nv": 20}, "val": {"mel": 2, "nv": 4}, "test": {"mel": 2, "nv": 4}}
        facts = SplitFacts(
            counts=counts, grouped_by="lesion", merged_groups=0, unused=0, left_out=0, digest="d"
        )
        facts.write(call.out)

    def _ask(self, call: StageCall) -> None:
        number = call.params["round"]
        question = asked.Asked(
            image_id=strings([f"q{number}"]),
            value_Q=np.ones(1),
            predicted=strings(["nv"]),
            prob_QC=np.full((1, 2), 0.5),
            neighbour_ids_QK=strings(["a"]).reshape(1, 1),
        )
        facts = asked.AskedFacts(
            classes=CLASSES, policy="margin", wanted=1, unlabelled=9, open=9, left_out={}
        )
        asked.write(question, facts, call.out)

    def _pool(self, call: StageCall) -> None:
        counts: dict[str, int] = {}
        PoolFacts(
            arm=call.params["arm"],
            n_rows=24,
            n_real=24,
            n_synthetic=0,
            counts=counts,
            added=counts,
            short=counts,
        ).write(call.out)

    def _classifier(self, call: StageCall) -> None:
        (call.out / "classifier.safetensors").write_text(str(len(self.of("classifier")) - 1))

    def _predict(self, call: StageCall) -> None:
        number = (call.inputs["classifier"] / "classifier.safetensors").read_text()
        (call.out / "number.txt").write_text(number)
        pd.DataFrame({"image_id": ["a"]}).to_parquet(call.out / "predictions.parquet")
        (call.out / "calibration.json").write_text("{}")

    def _evaluate(self, call: StageCall) -> None:
        value = self.val[int((call.inputs["predictions"] / "number.txt").read_text())]
        p = 0.5 if "reference" in call.inputs else None
        figures = {"val": metrics(value), "test": metrics(1 - value), "p_value_vs_round0": p}
        (call.out / "report.json").write_text(json.dumps(figures))

    def _mine(self, call: StageCall) -> None:
        pd.DataFrame({"image_id": [f"m{call.params['round']}"]}).to_parquet(call.out / "hard_cases.parquet")

    def _condition(self, call: StageCall) -> None:
        for name in ("conditioning", "neighbours"):
            pd.DataFrame({"image_id": [call.params["source"]]}).to_parquet(call.out / f"{name}.parquet")

    def _synthesize(self, call: StageCall) -> None:
        (call.out / "synthetic").mkdir()
        np.save(call.out / "images.npy", np.array([call.seed]))

    def _accept(self, call: StageCall) -> None:
        pd.DataFrame({"image_id": ["s"]}).to_parquet(call.out / "synthetic.parquet")
        taken = min(self.accepted, call.params["room"]["mel"])
        per_class = {"mel": {"generated": 5, "accepted": taken, "per_parent": [3, 2]}}
        (call.out / "accept.json").write_text(json.dumps({"per_class": per_class}))

    def _fidelity(self, call: StageCall) -> None:
        (call.out / "fidelity.json").write_text(
            json.dumps({"features": "f", "overall": None, "per_class": {}})
        )

    def _thumbnails(self, call: StageCall) -> None:
        (call.out / "thumbnails").mkdir()
        (call.out / "done.txt").write_text("")

    def _likelihood(self, call: StageCall) -> None:
        LikelihoodFacts(n=0, part="test", given="", bits_per_dimension={}).write(call.out)


class VariedBackend(PaperBackend):
    """Figures and counts that differ from class to class and stage to stage, and depend on the input's key alone.

    So what later stages read of them (counts, sensitivities, gains) is never empty nor equal by chance, whatever the order
    of the calls.
    """

    samples = 6

    def __init__(self) -> None:
        super().__init__([])

    def _evaluate(self, call: StageCall) -> None:
        key = call.inputs["predictions"].name
        p = 0.5 if "reference" in call.inputs else None
        figures = {part: metrics(_share(key, part)) for part in ("val", "test")}
        for part, made in figures.items():
            for dx in CLASSES:
                made["per_class"][dx]["sensitivity"] = figure(_share(key, part, dx))
        (call.out / "report.json").write_text(json.dumps({**figures, "p_value_vs_round0": p}))

    def _condition(self, call: StageCall) -> None:
        frame = pd.DataFrame({"sample_id": self._names(call.params["round"])})
        for name in ("conditioning", "neighbours"):
            frame.to_parquet(call.out / f"{name}.parquet")

    def _accept(self, call: StageCall) -> None:
        key = call.inputs["synthesize"].name
        (call.out / "synthetic.parquet").write_bytes(
            (call.inputs["condition"] / "conditioning.parquet").read_bytes()
        )
        left = call.params.get("most", 100)
        per_class = {}
        for dx in CLASSES:
            taken = min(1 + int(4 * _share(key, dx)), call.params["room"][dx], left)
            left -= taken
            made = 4 + int(3 * _share(key, dx, "generated"))
            per_class[dx] = {"generated": made, "accepted": taken, "per_parent": [made - 1, 1]}
        (call.out / "accept.json").write_text(json.dumps({"per_class": per_class}))

    def _names(self, number: int) -> list[str]:
        return [f"sample_{number}_{n}" for n in range(self.samples)]


def _share(*parts: str) -> float:
    """Return a figure between 0 and 0.99 with two decimals that depends on the text alone."""
    return int(hashlib.sha256("/".join(parts).encode()).hexdigest(), 16) % 100 / 100
