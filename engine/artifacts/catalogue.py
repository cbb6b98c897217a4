"""Lists every schema of this package, in the order of the stages: what docs/stages.md and the schema tests go through."""

from __future__ import annotations

from typing import Final

from engine.artifacts import (
    asked,
    challenging,
    conditioning,
    decoded_images,
    duplicates,
    features,
    generator_parts,
    hard_cases,
    index,
    judge,
    labels,
    lesions,
    neighbours,
    oracle,
    pool,
    predictions,
    split,
    synthesized,
    synthetic,
    tune_json,
)
from engine.artifacts.accept import AcceptFacts
from engine.artifacts.calibration import Calibration
from engine.artifacts.challenging import ChallengingFacts
from engine.artifacts.champion import Champion
from engine.artifacts.checksums_json import Checksums
from engine.artifacts.classifier_fit import FitFacts
from engine.artifacts.embedder import EmbedderFacts
from engine.artifacts.fidelity import Fidelity
from engine.artifacts.json_record import JsonRecord
from engine.artifacts.report_json import RoundEntry, RunReport
from engine.artifacts.run_progress import RunProgress
from engine.artifacts.schema import ArraySchema, TableSchema
from engine.artifacts.scores import Scores
from engine.artifacts.stage_manifest import StageManifest
from engine.artifacts.study_json import StudyRecord

TABLES: Final[tuple[TableSchema, ...]] = (
    lesions.SCHEMA,
    duplicates.SCHEMA,
    split.SCHEMA,
    oracle.SCHEMA,
    index.SCHEMA,
    judge.SCHEMA,
    challenging.SCHEMA,
    pool.SCHEMA,
    predictions.SCHEMA,
    predictions.EARLY,
    hard_cases.SCHEMA,
    conditioning.SCHEMA,
    neighbours.SCHEMA,
    synthetic.SCHEMA,
    asked.SCHEMA,
    labels.SCHEMA,
    tune_json.SCHEMA,
)
ARRAYS: Final[tuple[ArraySchema, ...]] = (
    decoded_images.IMAGES,
    decoded_images.MASKS,
    index.FUSED,
    index.LEVELS,
    generator_parts.LATENTS,
    features.FEATURES,
    pool.EXTRA,
    conditioning.LEVELS,
    synthesized.IMAGES,
)
RECORDS: Final[tuple[type[JsonRecord], ...]] = (
    StageManifest,
    decoded_images.DataFacts,
    split.SplitFacts,
    EmbedderFacts,
    index.IndexFacts,
    generator_parts.VaeFacts,
    generator_parts.DenoiserFacts,
    generator_parts.LikelihoodFacts,
    generator_parts.GanFacts,
    judge.JudgeFacts,
    features.FeatureFacts,
    ChallengingFacts,
    pool.PoolFacts,
    FitFacts,
    Calibration,
    Scores,
    synthesized.SynthesisFacts,
    AcceptFacts,
    Fidelity,
    asked.AskedFacts,
    Champion,
    RoundEntry,
    RunReport,
    RunProgress,
    Checksums,
    StudyRecord,
    tune_json.TuneRecord,
)
