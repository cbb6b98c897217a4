"""The validated config tree: schema, loading of YAML and key=value, explanations."""

from engine.artifacts.yaml_text import as_argument
from engine.config.data_sections import (
    BlindSpotConfig,
    DataConfig,
    FoldsConfig,
    PhantomConfig,
    SplitConfig,
    TrainSetsConfig,
)
from engine.config.execution_sections import BackendConfig, TrackingConfig
from engine.config.generator_sections import (
    BigModelConfig,
    DenoiserConfig,
    DistillConfig,
    EmbedderConfig,
    GanConfig,
    VaeConfig,
)
from engine.config.loading import dump_yaml, load_config, parse_config, read_tree, set_key
from engine.config.loop_sections import (
    ClassifierConfig,
    EvaluationConfig,
    JudgeConfig,
    LoopConfig,
    MixConfig,
    PolicyConfig,
)
from engine.config.schema import Config
from engine.config.sections import OptimConfig, Section
from engine.config.synthesis_section import SynthesisConfig, parts_sampled
from engine.config.tune_section import TuneConfig

__all__ = [
    "BackendConfig",
    "BigModelConfig",
    "ClassifierConfig",
    "Config",
    "BlindSpotConfig",
    "DataConfig",
    "DenoiserConfig",
    "DistillConfig",
    "EmbedderConfig",
    "EvaluationConfig",
    "FoldsConfig",
    "GanConfig",
    "JudgeConfig",
    "LoopConfig",
    "MixConfig",
    "OptimConfig",
    "PhantomConfig",
    "PolicyConfig",
    "Section",
    "SplitConfig",
    "SynthesisConfig",
    "TrackingConfig",
    "TrainSetsConfig",
    "TuneConfig",
    "VaeConfig",
    "as_argument",
    "dump_yaml",
    "load_config",
    "parse_config",
    "parts_sampled",
    "read_tree",
    "set_key",
]
