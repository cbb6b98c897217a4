"""The contact sheet shows every image in its class's row."""

import numpy as np
from PIL import Image

from engine.report.sheets import class_sheet


def flat(*colours):
    return np.stack([np.full((8, 8, 3), colour, dtype=np.uint8) for colour in colours])


def test_every_tile_is_drawn_and_bytes_repeat(tmp_path):
    real = {"nv": flat((200, 0, 0), (0, 200, 0)), "mel": flat((0, 0, 200))}
    recon = {"nv": flat((201, 0, 0), (0, 201, 0)), "mel": flat((0, 0, 201))}
    synthetic = {"mel": flat((9, 9, 90))}
    for name in ("a.png", "b.png"):
        class_sheet(real, recon, synthetic, tmp_path / name, tile=20)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    pixels = np.asarray(Image.open(tmp_path / "a.png"))
    for colour in [(200, 0, 0), (0, 200, 0), (0, 0, 200), (201, 0, 0), (0, 0, 201), (9, 9, 90)]:
        assert int((pixels == colour).all(axis=-1).sum()) == 400
    rows = {
        c: int(np.argwhere((pixels == c).all(axis=-1))[0, 0])
        for c in [(0, 0, 200), (0, 0, 201), (9, 9, 90), (200, 0, 0)]
    }
    assert rows[0, 0, 200] == rows[0, 0, 201] == rows[9, 9, 90] < rows[200, 0, 0]  # mel above nv


def test_without_synthetic_images(tmp_path):
    class_sheet({"a": flat((1, 2, 3))}, {"a": flat((1, 2, 3))}, {}, tmp_path / "a.png", tile=10)
    assert int((np.asarray(Image.open(tmp_path / "a.png")) == (1, 2, 3)).all(axis=-1).sum()) == 200
