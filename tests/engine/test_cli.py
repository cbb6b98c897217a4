"""The command line: messages, exit codes, and that asking for help is quick."""

import errno
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from engine import cli
from engine.commands import groups, run_command
from engine.errors import ConfigError, DataError, StageError


def hardcase(*arguments):
    return CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(cli.app, [str(a) for a in arguments])


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(f"output: {tmp_path / 'runs'}\n")
    return path


def failing(error):
    def run(*args, **kwargs):
        raise error

    return run


COMMANDS = [
    "run",
    "evaluate",
    "predict",
    "report",
    "compare",
    "power",
    "synthesize",
    "label",
    "export",
    "data",
    "init",
    "config",
    "doctor",
]


def test_help_names_every_command():
    result = hardcase("--help")
    assert result.exit_code == 0
    for name in COMMANDS:
        assert f" {name} " in result.stdout


@pytest.mark.parametrize(
    "command",
    [
        *[[c] for c in COMMANDS],
        ["export", "data"],
        ["export", "model"],
        ["data", "split"],
        ["config", "show"],
    ],
)
def test_every_command_explains_itself(command):
    result = hardcase(*command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


def test_help_imports_nothing_heavy():
    code = "import engine.cli, sys; print([m for m in ('torch', 'mlflow', 'ray', 'pandas', 'timm') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [["config", "explain", "policy.mining"], ["config", "show", "experiments/configs/demo.yaml"]],
    ids=str,
)
def test_reading_a_config_imports_no_large_library(arguments):
    """Policies register when a config is read: one that imports scikit-learn cost every such command two seconds."""
    code = (
        "import sys; from typer.testing import CliRunner; from engine.cli import app; "
        f"assert CliRunner().invoke(app, {arguments!r}).exit_code == 0; assert 'policies.query.typical' in sys.modules; "
        "large = ('torch', 'mlflow', 'ray', 'pandas', 'timm', 'sklearn', 'scipy', 'matplotlib', 'diffusers', 'pyarrow'); "
        "print([name for name in large if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_version():
    from importlib.metadata import version

    result = hardcase("--version")
    assert (result.exit_code, result.stdout) == (0, f"hardcase {version('hardcase')}\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("loop.rounds: too many"), 2),
        (DataError("x.jpg: truncated"), 2),
        (StageError("vae: the loss became nan"), 1),
        (KeyboardInterrupt(), 130),
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), 1),
    ],
)
def test_errors_become_one_message_and_an_exit_code(config, monkeypatch, error, code):
    monkeypatch.setattr(run_command, "run", failing(error))
    result = hardcase("run", config)
    assert result.exit_code == code
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert "Traceback" not in result.output


def test_messages_show_brackets_as_they_are_and_do_not_break_paths(config, monkeypatch):
    path = "/data/" + "x" * 300
    monkeypatch.setattr(run_command, "run", failing(DataError(f"{path}: [red] is no class")))
    assert hardcase("run", config).stderr == f"error: {path}: [red] is no class\n"


def test_our_own_bugs_show_a_traceback_and_ask_for_a_report(config, monkeypatch, capsys):
    monkeypatch.setattr(run_command, "run", failing(ZeroDivisionError("oops")))
    monkeypatch.setattr(sys, "argv", ["hardcase", "run", str(config)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    shown = capsys.readouterr().err
    assert stop.value.code == 1
    assert "ZeroDivisionError: oops" in shown
    assert "please report it" in shown


def test_other_system_errors_are_bugs_too(config, monkeypatch):
    monkeypatch.setattr(run_command, "run", failing(OSError(errno.EBADF, "Bad file descriptor")))
    assert isinstance(hardcase("run", config).exception, OSError)


def test_main_ends_with_the_commands_exit_code(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["hardcase", "run", "absent.yaml"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("error: absent.yaml: cannot be read")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "Missing argument"),
        (["walk"], "No such command"),
        (["run", "c.yaml", "--fast"], "No such option"),
        (["predict", "RUN", "x.png"], "give --csv FILE, --parquet FILE, or both"),
        (["synthesize", "RUN", "--class", "mel", "--count", "0", "--out", "x"], "--count"),
        (["evaluate", "RUN", "--round", "-1"], "--round"),
    ],
)
def test_wrong_usage_exits_with_2(arguments, message):
    result = hardcase(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["loop.round=3"], "loop.round: unknown key; did you mean loop.rounds?"),
        (["loop.rounds=many"], "loop.rounds"),
        (["policy.mining={name: magic}"], "magic"),
        (["data.split.train=0.9"], "more than 1"),
        (["loop.rounds"], "expected key=value"),
    ],
)
def test_a_bad_config_is_refused_before_anything_is_written(config, tmp_path, overrides, message):
    for command in (
        ["run", config],
        ["config", "show", config],
        ["data", "describe", config],
        ["doctor", config],
    ):
        result = hardcase(*command, *overrides)
        assert result.exit_code == 2, command
        assert message in result.stderr, command
    assert [p.name for p in tmp_path.iterdir()] == ["config.yaml"]


def test_config_show_prints_what_loads_to_the_same_config(config, tmp_path):
    first = hardcase("config", "show", config, "loop.rounds=5")
    assert first.exit_code == 0
    assert "rounds: 5" in first.stdout
    (tmp_path / "whole.yaml").write_text(first.stdout)
    assert hardcase("config", "show", tmp_path / "whole.yaml").stdout == first.stdout


def test_config_explain():
    result = hardcase("config", "explain", "loop.rounds")
    assert result.exit_code == 0
    assert "rounds after round 0" in result.stdout
    assert hardcase("config", "explain", "loop.round").exit_code == 2


def test_options_reach_the_command(config, monkeypatch):
    seen = {}

    def run(path, overrides, console, *, fresh, dry_run, profile):
        seen.update(path=path, overrides=overrides, fresh=fresh, dry_run=dry_run, profile=profile)

    monkeypatch.setattr(run_command, "run", run)
    assert hardcase("run", config, "a.b=1", "--fresh", "c=[2, 3]", "--dry-run", "--profile").exit_code == 0
    assert seen == {
        "path": config, "overrides": ["a.b=1", "c=[2, 3]"], "fresh": True, "dry_run": True, "profile": True,
    }  # fmt: skip


def test_data_commands_share_the_runs_cache(config, tmp_path):
    small = ["data.phantom.lesions=40", "data.phantom.imbalance=0", "data.image_size=16", "embedder.patch=4",
             "vae.downsample=2", "vae.widths=[8, 16]", "denoiser.widths=[16, 32]"]  # fmt: skip
    result = hardcase("data", "split", config, *small, "--out", tmp_path / "split.parquet")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "split.parquet").exists()
    again = hardcase("data", "preview", config, *small, "--out", tmp_path / "preview.png")
    assert again.exit_code == 0, again.output
    assert (tmp_path / "preview.png").read_bytes().startswith(b"\x89PNG")
    stages = sorted(p.name.partition("-")[0] for p in (tmp_path / "runs/stages").iterdir() if "-" in p.name)
    assert stages == ["images", "split"]


@pytest.mark.parametrize("module", ["engine", "engine.cli"])
def test_the_command_runs_as_a_module_too(module):
    found = subprocess.run(
        [sys.executable, "-m", module, "config", "nothing"], capture_output=True, text=True, check=False
    )
    assert found.returncode == 2
    assert "No such command" in found.stderr


def test_a_home_folder_after_an_equals_sign_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "photographs").mkdir()
    result = hardcase("init", tmp_path / "photographs", "--out=~/x.yaml")
    assert str(tmp_path / "photographs") in result.stderr, result.stderr  # it holds no image
    assert "~" not in result.stderr
    assert groups.with_home("--out=~/x.yaml") == f"--out={tmp_path}/x.yaml"
    assert [groups.with_home(text) for text in ("loop.rounds=~", "--out=x=~/y", "--out")] == [
        "loop.rounds=~", "--out=x=~/y", "--out"
    ]  # fmt: skip
