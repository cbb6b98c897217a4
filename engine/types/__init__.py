"""The frozen records that stages, policies and reports exchange, by what they are about; numpy only."""

from engine.types.arrays import BoolArray, FloatArray, ImageArray, IntArray, StrArray, strings
from engine.types.candidates import AcceptanceState, Selection, SelectionState, Verdicts
from engine.types.conditioning import Conditioning, Mixture, Neighbourhood
from engine.types.failures import Cause, Failure, causes_text
from engine.types.images import SPLITS, UNLABELLED, LesionTable, Predictions
from engine.types.mining import BudgetState, DrawRequest, HardCases, MiningState, RunFacts
from engine.types.query import Query, QueryState
from engine.types.stopping import Action, StopDecision, StoppingState

__all__ = [
    "SPLITS",
    "UNLABELLED",
    "AcceptanceState",
    "Action",
    "BoolArray",
    "BudgetState",
    "Cause",
    "Conditioning",
    "DrawRequest",
    "Failure",
    "FloatArray",
    "HardCases",
    "ImageArray",
    "IntArray",
    "LesionTable",
    "MiningState",
    "Mixture",
    "Neighbourhood",
    "Predictions",
    "Query",
    "QueryState",
    "RunFacts",
    "Selection",
    "SelectionState",
    "StopDecision",
    "StoppingState",
    "StrArray",
    "Verdicts",
    "causes_text",
    "strings",
]
