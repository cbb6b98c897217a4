"""`hardcase export model`: a run's classifier with all that someone else needs to apply it as it was measured."""

from __future__ import annotations

import dataclasses
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
DECODING = "decoding.py"
"""What decodes photographs, as it was for the training: a copy of the engine's module."""
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
    chosen = choose(run, round_number, arm)
    report = read_report(run)
    if onnx:
        require_onnx()
    with new_folder(out) as target:
        shutil.copyfile(chosen.weights, target / WEIGHTS)
        shutil.copyfile(Calibration.path(chosen.folder), Calibration.path(target))
        preprocessing = describe_preprocessing(chosen)
        if onnx:
            difference = export_onnx(chosen, target / "classifier.onnx")
            preprocessing["onnx"]["largest_difference_from_torch"] = difference
            shutil.copyfile(decoding.__file__, target / DECODING)
            shutil.copyfile(Path(__file__).with_name(f"{APPLY}.txt"), target / APPLY)
        else:
            preprocessing["onnx"] = None
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


def describe_preprocessing(chosen: Chosen) -> dict[str, Any]:
    """Return what happens to an image file before the network, and what its outputs mean."""
    from engine.classifier.weights import read_meta

    meta, calibration, data = read_meta(chosen.weights), chosen.calibration, chosen.run.config.data
    return {
        "image_size": meta.image_size,
        "channels": "RGB",
        "decoding": f"{DECODING} beside this file: upright by EXIF, 8 bits, transparent parts white; a JPEG comes at the "
        "smallest of libjpeg's scales that has twice the pixels asked for (Pillow's draft), which changes them",
        "fit": data.fit,
        "geometry": "centred square of the short side" if data.fit == "crop" else "whole image, stretched",
        "resize": "Pillow bicubic (antialiased), cut and scaled in one step, rounded to uint8",
        "range": "divide uint8 by 255",
        "mean": list(meta.mean),
        "std": list(meta.std),
        "classes": list(meta.classes),
        "safetensors": {"model": dataclasses.asdict(meta)["model"], "input": "normalised by mean and std",
                        "output": "logits; divide by temperature, then softmax"},
        "onnx": {"input": "image: float32 (N,3,H,W) in [0,1]; mean and std are applied inside",
                 "output": "probability: float32 (N,C), calibrated; columns are classes"},
        "temperature": calibration.temperature,
        "malignant": {"classes": list(calibration.malignant), "score": "sum of their probabilities",
                      "threshold": calibration.threshold, "specificity_on_val": calibration.specificity},
    }  # fmt: skip


def export_onnx(chosen: Chosen, path: Path) -> float:
    """Write the calibrated classifier as ONNX for any batch size; returns its largest difference from torch.

    Raises:
        StageError: a probability differs by more than AGREEMENT.
    """
    import logging

    import torch

    from engine.classifier.weights import UnitInputClassifier, load_classifier

    model, meta = load_classifier(chosen.weights)
    whole = _calibrated(UnitInputClassifier(model, meta).eval(), chosen.calibration.temperature)
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


def _calibrated(model: Any, temperature: float) -> Any:
    """Wrap a classifier of RGB in [0, 1] so that it returns calibrated probabilities."""
    import torch
    from torch import Tensor, nn

    class Calibrated(nn.Module):
        """softmax(logits / temperature)."""

        def __init__(self) -> None:
            super().__init__()
            self.classifier = model

        def forward(self, image: Tensor) -> Tensor:
            """Return probabilities (N, C)."""
            return torch.softmax(self.classifier(image) / temperature, dim=1)

    return Calibrated().eval()


def _run_onnx(path: Path, images_NCHW: np.ndarray) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["probability"], {"image": images_NCHW})[0])
