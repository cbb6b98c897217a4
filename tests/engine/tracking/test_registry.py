"""When the alias `champion` moves."""

import pytest

from engine.tracking.registry import moves_alias


def version(value, run="r1", split="s", metric="val/auc"):
    return {"hardcase.run": run, "split_digest": split, "val_metric": metric, "val_value": str(value)}


@pytest.mark.parametrize(
    ("new", "holder", "final", "moves"),
    [
        (version(0.5), None, False, True),
        (version(0.6), version(0.5), False, True),
        (version(0.5), version(0.5), False, False),
        (version(0.4), version(0.5), False, False),
        (version(0.4), version(0.5), True, True),
        (version(0.6, run="r2"), version(0.5), False, True),
        (version(0.4, run="r2"), version(0.5), True, False),
        (version(0.9, run="r2", split="t"), version(0.5), True, False),
        (version(0.9, run="r2", metric="val/accuracy"), version(0.5), True, False),
        (version(0.9), {}, False, False),
        (version("None"), version(0.5), False, False),
    ],
)
def test_only_a_higher_val_figure_on_the_same_split_moves_it(new, holder, final, moves):
    assert moves_alias(new, holder, final=final) is moves
