"""Model folders that could run code are refused in one line, by runs, commands and doctor alike."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

import engine
from engine import build
from engine.config.loading import parse_config
from engine.config.safe_weights import unsafe_reason
from engine.diffusion.pretrained import load_part
from engine.errors import ConfigError, DataError
from engine.retrieval.clip import copy_pretrained

CLIP = {"model_type": "clip", "architectures": ["CLIPModel"]}
OWN_CODE = {**CLIP, "model_type": "evil", "auto_map": {"AutoConfig": "evil.EvilConfig"}}
CANARY = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\nclass EvilConfig: pass\n"


def model_folder(root: Path, facts: object, *files: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "config.json").write_text(json.dumps(facts))
    for name in files:
        (root / name).write_bytes(b"weights")
    return root


@pytest.mark.parametrize(
    ("facts", "files", "reason"),
    [
        (CLIP, ["model.safetensors"], ""),
        (CLIP, ["model.safetensors", "pytorch_model.bin"], ""),
        (CLIP, [], ""),
        ([], ["model.safetensors"], ""),
        (OWN_CODE, ["model.safetensors"], "asks to run Python code of its own (auto_map in config.json)"),
        *((CLIP, [f"weights{end}"], f"holds pickled weights (weights{end})")
          for end in (".bin", ".pt", ".pth", ".ckpt", ".pkl")),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, facts: object, files: list[str], reason: str) -> None:
    found = unsafe_reason(model_folder(tmp_path / "m", facts, *files))
    assert found.startswith(reason) if reason else found == ""


def test_code_named_by_a_tokenizer_is_refused_too(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m", CLIP, "model.safetensors")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"auto_map": {"AutoTokenizer": ["evil.T", None]}})
    )
    assert "auto_map in tokenizer_config.json" in unsafe_reason(folder)


def test_a_clip_folder_with_code_is_refused_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked a question"))
    folder = model_folder(tmp_path / "clip", OWN_CODE, "model.safetensors")
    (folder / "evil.py").write_text(CANARY)
    with pytest.raises(DataError, match=r"embedder\.pretrained: .* asks to run Python code of its own"):
        copy_pretrained(str(folder), tmp_path / "copy")
    assert not (folder / "ran").exists()


def test_a_pickled_part_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    model_folder(tmp_path / "vae", {}, "diffusion_pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"vae\.pretrained: .*vae holds pickled weights"):
        load_part(object, str(tmp_path), "vae", "vae.pretrained")


@pytest.mark.parametrize(
    ("key", "part"), [("embedder", ""), ("vae", "vae"), ("denoiser", "unet"), ("denoiser", "text_encoder")]
)
def test_a_run_refuses_it_at_once_and_doctor_names_it(tmp_path: Path, key: str, part: str) -> None:
    model_folder(tmp_path / "model" / "unet", {}, "diffusion_pytorch_model.safetensors")
    model_folder(tmp_path / "model" / "vae", {}, "diffusion_pytorch_model.safetensors")
    folder = tmp_path / "model" / part if part else tmp_path / "clip"
    for path in folder.glob("*.safetensors"):
        path.unlink()
    model_folder(folder, {}, "pytorch_model.bin")
    given = tmp_path / "model" if part else folder
    tree = {"output": str(tmp_path / "runs"), key: {"pretrained": str(given)}}
    with pytest.raises(ConfigError, match=rf"{key}\.pretrained: .* holds pickled weights"):
        build.run(parse_config(tree))
    assert not (tmp_path / "runs").exists()
    assert any("holds pickled weights" in line for line in build.model_problems(parse_config(tree)))


SAFE = {"use_safetensors", "trust_remote_code", "SAFE_MODEL", "options"}


def test_every_from_pretrained_is_told_to_be_safe_and_nothing_is_unpickled() -> None:
    root = Path(engine.__file__).parent
    for path in sorted(root.rglob("*.py")):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            name = ast.unparse(call.func)
            where = f"{path.relative_to(root)}:{call.lineno}"
            assert not name.endswith("torch.load"), where
            if name.endswith(".from_pretrained"):
                said = {word.arg or ast.unparse(word.value) for word in call.keywords}
                assert said & SAFE, where
            assert not any(
                word.arg == "trust_remote_code" and ast.unparse(word.value) != "False"
                for word in call.keywords
            ), where
