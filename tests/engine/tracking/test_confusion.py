"""The confusion matrix picture."""

import io

import numpy as np
from PIL import Image

from engine.tracking.confusion import confusion_png


def test_a_heavy_cell_is_darker_than_an_empty_one_and_an_empty_class_breaks_nothing():
    png = confusion_png(["mel", "nv"], [[0, 0], [0, 9]], "round 1 hard, test")
    image = np.asarray(Image.open(io.BytesIO(png)).convert("L"), dtype=float)
    height, width = image.shape
    dark = np.argwhere(image < 90).mean(axis=0)
    assert dark[0] > height * 0.4
    assert dark[1] > width * 0.5
    assert confusion_png(["mel", "nv"], [[0, 0], [0, 9]], "round 1 hard, test") == png
