"""hardcase: find the lesions a classifier gets wrong, synthesize more of them, retrain, prove whether it helped."""

__version__ = "0.1.0"
