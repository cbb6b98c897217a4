"""The run folder and the stage cache: atomic writes, locks, resume."""

from engine.artifacts.whole_files import write_text
from engine.store.cache import Listener, StageCache, StageFolder, StageRunner, stage_key
from engine.store.files import copy_file, write_json
from engine.store.run_folder import RunFolder

__all__ = [
    "Listener",
    "RunFolder",
    "StageCache",
    "StageFolder",
    "StageRunner",
    "copy_file",
    "stage_key",
    "write_json",
    "write_text",
]
