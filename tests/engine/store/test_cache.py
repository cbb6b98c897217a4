"""The stage cache: nothing is run twice, nothing half written is kept, damage is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.errors import StageError
from engine.execution.backend import StageCall
from engine.execution.progress import QuietListener
from engine.stages import base
from engine.store import StageCache, StageRunner, stage_key
from engine.training.plan import Progress

BASE: dict[str, Any] = {
    "version": 1, "params": {"vae": {"steps": 3}}, "seed": 0, "threads": 2, "device": "cpu", "precision": "float32",
    "inputs": {"images": "abc"},
}  # fmt: skip


class Params(base.Params):
    """One number."""

    a: int = 0


VAE = base.Stage(
    name="vae",
    params=Params,
    run=lambda _context, _params: None,
    files={"result.txt": "what it was called with"},
)


class CountingBackend:
    """Writes its params into the folder; fails where told to."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fail = False

    def run(self, call: StageCall, progress: Progress) -> None:
        self.calls.append(call.stage)
        (call.out / "result.txt").write_text(f"{call.params} {call.seed}")
        (call.checkpoint / "step.safetensors").touch()
        if self.fail:
            raise RuntimeError("killed")

    def close(self) -> None:
        pass


def make_runner(tmp_path: Path, backend: CountingBackend, *, fresh: bool = False) -> StageRunner:
    return StageRunner(StageCache(tmp_path), backend, 2, "cpu", "float32", QuietListener(), fresh=fresh)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2}, {"params": {"vae": {"steps": 4}}}, {"seed": 1}, {"threads": 1}, {"device": "cuda"},
        {"precision": "bf16"}, {"inputs": {"images": "abd"}},
    ],
)  # fmt: skip
def test_a_key_depends_on_everything_the_stage_reads(change: dict[str, Any]) -> None:
    assert stage_key("vae", **BASE) != stage_key("vae", **(BASE | change))


def test_a_key_follows_the_data_not_its_place() -> None:
    here = BASE | {"params": {"data": {"root": "/a", "workers": 1, "format": "isic"}}}
    there = BASE | {"params": {"data": {"root": "/b", "workers": 2, "format": "isic"}}}
    other = BASE | {"params": {"data": {"root": "/a", "workers": 1, "format": "folder"}}}
    assert stage_key("images", **here) == stage_key("images", **there) != stage_key("images", **other)


def test_a_finished_stage_is_not_run_again(tmp_path: Path) -> None:
    backend = CountingBackend()
    first = make_runner(tmp_path, backend)(VAE, Params(a=1), seed=2)
    again = make_runner(tmp_path, backend)(VAE, Params(a=1), seed=2)
    assert backend.calls == ["vae"]
    assert (again.path, again.cached, again.seconds) == (first.path, True, first.seconds)
    assert not list(tmp_path.glob("*.checkpoint"))


def test_a_failed_stage_leaves_its_checkpoint_and_nothing_else(tmp_path: Path) -> None:
    backend = CountingBackend()
    backend.fail = True
    runner = make_runner(tmp_path, backend)
    with pytest.raises(RuntimeError):
        runner(VAE, Params())
    names = [p.name for p in tmp_path.iterdir() if not p.name.startswith(".")]
    assert len(names) == 1
    assert names[0].endswith(".checkpoint")
    backend.fail = False
    assert runner(VAE, Params()).cached is False


def test_a_damaged_stage_is_computed_again(tmp_path: Path) -> None:
    backend = CountingBackend()
    folder = make_runner(tmp_path, backend)(VAE, Params())
    (folder.path / "result.txt").write_text("flipped bit")
    assert make_runner(tmp_path, backend)(VAE, Params()).cached is False
    assert backend.calls == ["vae", "vae"]


def test_fresh_computes_each_stage_once_more(tmp_path: Path) -> None:
    backend = CountingBackend()
    make_runner(tmp_path, backend)(VAE, Params())
    runner = make_runner(tmp_path, backend, fresh=True)
    runner(VAE, Params())
    runner(VAE, Params())
    assert backend.calls == ["vae", "vae"]


def test_half_written_folders_of_a_killed_attempt_are_removed(tmp_path: Path) -> None:
    backend = CountingBackend()
    folder = make_runner(tmp_path, backend)(VAE, Params())
    leftover = tmp_path / f"vae-{folder.key}.tmp-dead"
    leftover.mkdir()
    make_runner(tmp_path, backend, fresh=True)(VAE, Params())
    assert not leftover.exists()


def test_a_stage_of_other_inputs_is_another_and_a_missing_one_is_refused(tmp_path: Path) -> None:
    backend = CountingBackend()
    runner = make_runner(tmp_path, backend)
    stage = base.Stage(
        name="latents", params=Params, run=lambda _context, _params: None, files={}, inputs=("vae",)
    )
    with pytest.raises(StageError, match=r"stage latents: inputs \['vae'\] are missing"):
        runner(stage, Params())
    first, second = (runner(VAE, Params(a=a)) for a in (1, 2))
    keys = {runner(stage, Params(), inputs={"vae": folder}).key for folder in (first, second, first)}
    assert len(keys) == 2
    assert backend.calls == ["vae", "vae", "latents", "latents"]


def test_the_version_of_the_stage_is_part_of_the_key(tmp_path: Path) -> None:
    backend = CountingBackend()
    runner = make_runner(tmp_path, backend)
    raised = base.Stage(name="vae", version=2, params=Params, run=VAE.run, files={})
    assert runner(VAE, Params()).key != runner(raised, Params()).key
    assert backend.calls == ["vae", "vae"]
