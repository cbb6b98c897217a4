"""The champion as a model of MLflow that takes photographs: paths or image files in, calibrated, named probabilities out.

The network goes as torch.export saves it (pt2) and the rest as source, so that nothing is pickled and loading it takes
torch, Pillow, numpy, pandas and mlflow, but no hardcase.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from engine.artifacts.calibration import Calibration
from engine.execution.node_facts import version_of
from engine.store.files import write_json

MODULE: Final = Path(__file__).with_name("photographs.py.txt")
"""The code that MLflow runs: source for a place where no hardcase is installed."""
REQUIREMENTS: Final = ("torch", "mlflow", "pillow", "numpy", "pandas")


def export_champion(weights: Path, folder: Path, *, fit: str) -> None:
    """Write the classifier of a published (round, arm) as an MLflow model into ``folder``.

    Args:
        weights: classifier.safetensors, with calibration.json beside it.
        folder: whole or absent, whenever the process is killed.
        fit: data.fit of the run.

    Raises:
        DataError: one of them is missing or broken.
    """
    import torch

    from engine.classifier.weights import load_classifier
    from engine.data import decoding
    from engine.parts.exported_classifier import (
        DECODING,
        IN_AND_OUT,
        Calibrated,
        describe_preprocessing,
        export_program,
    )

    model, meta = load_classifier(weights)
    calibration = Calibration.read(weights.parent)
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        network, code, facts, decoder = (
            Path(place) / name
            for name in ("classifier.pt2", "photographs.py", "preprocessing.json", DECODING)
        )
        torch.export.save(
            export_program(Calibrated(model, meta, calibration.temperature), meta.image_size), network
        )
        shutil.copyfile(MODULE, code)
        shutil.copyfile(decoding.__file__, decoder)
        write_json(facts, describe_preprocessing(meta, calibration, fit, {"pt2": IN_AND_OUT}))
        with warnings.catch_warnings():  # MLflow's advice on input examples
            warnings.simplefilter("ignore")
            import mlflow.pyfunc

            mlflow.pyfunc.save_model(
                str(partial),
                python_model=str(code),
                artifacts={"network": str(network), "preprocessing": str(facts), "decoding": str(decoder)},
                signature=signature(meta.classes),
                pip_requirements=[_pinned(name) for name in REQUIREMENTS],
                metadata={"hardcase": "research software, not a medical device"},
            )
    partial.replace(folder)


def signature(classes: tuple[str, ...]) -> Any:
    """Return what MLflow shows of the model: photographs in, a row of named columns each out.

    The input has no name, so a list is taken as well as a table with a column of any name.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    outputs: Mapping[str, DataType] = {
        **{f"p_{name}": DataType.float for name in classes},
        "predicted": DataType.string,
        "malignant_score": DataType.float,
        "above_threshold": DataType.boolean,
    }
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.string)]),
        outputs=Schema([ColSpec(kind, name) for name, kind in outputs.items()]),
    )


def _pinned(name: str) -> str:
    return f"{name}=={version_of(name).partition('+')[0]}"
