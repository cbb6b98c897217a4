"""The validated config tree: schema, loading of YAML and key=value, explanations."""

from engine.config.data_sections import DataConfig, PhantomConfig, SplitConfig
from engine.config.generator_sections import (
    GENERATOR_PARTS,
    BigModelConfig,
    DenoiserConfig,
    EmbedderConfig,
    GanConfig,
    SynthesisConfig,
    VaeConfig,
)
from engine.config.loading import dump_yaml, load_config, parse_config, set_key
from engine.config.loop_sections import (
    ARMS,
    BackendConfig,
    ClassifierConfig,
    EvaluationConfig,
    JudgeConfig,
    LoopConfig,
    PolicyConfig,
    TrackingConfig,
)
from engine.config.schema import Config
from engine.config.sections import OptimConfig, Section
from engine.config.tune_section import TuneConfig

__all__ = [
    "ARMS",
    "GENERATOR_PARTS",
    "BackendConfig",
    "BigModelConfig",
    "ClassifierConfig",
    "Config",
    "DataConfig",
    "DenoiserConfig",
    "EmbedderConfig",
    "EvaluationConfig",
    "GanConfig",
    "JudgeConfig",
    "LoopConfig",
    "OptimConfig",
    "PhantomConfig",
    "PolicyConfig",
    "Section",
    "SplitConfig",
    "SynthesisConfig",
    "TrackingConfig",
    "TuneConfig",
    "VaeConfig",
    "dump_yaml",
    "load_config",
    "parse_config",
    "set_key",
]
