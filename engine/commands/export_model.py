"""`hardcase export model`: a run's classifier with all that someone else needs to apply it as it was measured."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from engine.artifacts.calibration import Calibration
from engine.artifacts.classifier_fit import WEIGHTS
from engine.commands.finished_run import Chosen, choose, read_report
from engine.commands.model_card import model_card
from engine.commands.output_folder import new_folder
from engine.data import decoding
from engine.errors import DataError, StageError
from engine.store import write_json, write_text

APPLY = "apply.py"
"""Applies the exported classifier to photographs, with numpy, Pillow and onnxruntime alone."""
AGREEMENT = 1e-3
"""Largest difference of a probability between ONNX Runtime and torch that an export may have."""
CHECKED = 33
"""Images the two are compared on: more than a chunk, and no multiple of one."""


def export_model(
    run: Path,
    out: Path,
    console: Console,
    *,
    round_number: int | None = None,
    arm: str | None = None,
    onnx: bool = True,
) -> dict[str, Any]:
    """Write the classifier, what its inputs and outputs mean, a script that applies it, and README.md into ``out``.

    Returns:
        preprocessing.json's object.

    Raises:
        DataError: no run folder, ``out`` is not empty, or the packages for ONNX are missing.
        StageError: ONNX Runtime does not agree with torch; nothing is written.
    """
    from engine.classifier.weights import read_meta
    from engine.parts.exported_classifier import DECODING, IN_AND_OUT, describe_preprocessing

    chosen = choose(run, round_number, arm)
    report = read_report(run)
    if onnx:
        require_onnx()
    with new_folder(out) as target:
        shutil.copyfile(chosen.weights, target / WEIGHTS)
        shutil.copyfile(Calibration.path(chosen.folder), Calibration.path(target))
        meta, fit = read_meta(chosen.weights), chosen.run.config.data.fit
        networks: dict[str, Any] = {
            "safetensors": {"model": meta.model, "input": "normalised by mean and std",
                            "output": "logits; divide by temperature, then softmax"},
            "onnx": None,
        }  # fmt: skip
        if onnx:
            difference = export_onnx(chosen, target / "classifier.onnx")
            networks["onnx"] = {**IN_AND_OUT, "largest_difference_from_torch": difference}
            shutil.copyfile(decoding.__file__, target / DECODING)
            shutil.copyfile(Path(__file__).with_name(f"{APPLY}.txt"), target / APPLY)
        preprocessing = describe_preprocessing(meta, chosen.calibration, fit, networks)
        write_json(target / "preprocessing.json", preprocessing)
        write_text(target / "README.md", model_card(chosen, report, onnx=onnx))
    console.print(f"{chosen.marked} in {out}")
    return preprocessing


def require_onnx() -> None:
    """Raise DataError unless the packages of the extra ``export`` are installed."""
    missing = [n for n in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(n) is None]
    if missing:
        raise DataError(
            f"export model: {', '.join(missing)} is not installed; pip install 'hardcase[export]', or give --no-onnx"
        )


def export_onnx(chosen: Chosen, path: Path) -> float:
    """Write the calibrated classifier as ONNX for any batch size; returns its largest difference from torch.

    Raises:
        StageError: a probability differs by more than AGREEMENT.
    """
    import logging

    import torch

    from engine.classifier.weights import load_classifier
    from engine.parts.exported_classifier import Calibrated

    model, meta = load_classifier(chosen.weights)
    whole = Calibrated(model, meta, chosen.calibration.temperature)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(CHECKED, 3, meta.image_size, meta.image_size, generator=generator)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    torch.onnx.export(
        whole,
        (images[:2],),
        str(path),
        input_names=["image"],
        output_names=["probability"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    with torch.inference_mode():
        expected = whole(images).numpy()
    found = _run_onnx(path, images.numpy())
    difference = float(np.abs(found - expected).max())
    if not difference <= AGREEMENT:
        raise StageError(
            f"{path.name}: ONNX Runtime differs from torch by {difference:.2g} in a probability (at most "
            f"{AGREEMENT:g} is right); export with --no-onnx and report the model's name ({meta.model})"
        )
    return difference


def _run_onnx(path: Path, images_NCHW: np.ndarray) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["probability"], {"image": images_NCHW})[0])
