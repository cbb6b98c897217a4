"""The classifier and the judge: any timm or torchvision model, fitted, calibrated and applied in fixed chunks."""
