"""SIGTERM, SIGHUP and Ctrl-C: raised at once outside of a training, after the step inside; exit code and next command."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import cli
from engine.errors import StoppedError
from engine.execution import stop_signals
from engine.training.stop_request import deferred, requested
from tests.processes import Forked, command

pytestmark = pytest.mark.faults


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """Each test begins as in a terminal, even where `nohup` started pytest."""
    kept = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP)}
    kept[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    hook = sys.unraisablehook
    yield
    sys.unraisablehook = hook
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_outside_of_a_training_it_is_raised_at_once(number: int, code: int) -> None:
    stop_signals.install()
    with pytest.raises(StoppedError) as caught:
        os.kill(os.getpid(), number)
        time.sleep(5)
    assert caught.value.exit_code == code
    os.kill(os.getpid(), number)  # what ends now may take its time
    time.sleep(0.1)


class Dying:
    """An object during whose ``__del__`` a signal comes: Python prints what is raised there, and goes on."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.kill(os.getpid(), self.number)
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGTERM, StoppedError), (signal.SIGHUP, StoppedError), (signal.SIGINT, KeyboardInterrupt)],
)
def test_one_that_a_callback_swallows_comes_again(
    number: int, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes when the callback has had its time, and here not before the line that is meant is reached."""
    returned, sends, came = threading.Event(), stop_signals._send_again, []

    def send_again(again: int) -> None:
        came.append(time.monotonic())
        returned.wait(60)
        sends(again)

    monkeypatch.setattr(stop_signals, "_send_again", send_again)
    stop_signals.install()
    reached = []
    began = time.monotonic()
    with pytest.raises(error):
        dying = Dying(number)
        del dying
        reached.append("after the callback")
        returned.set()
        time.sleep(60)
        reached.append("not stopped")
    assert reached == ["after the callback"]
    assert came[0] - began >= stop_signals.AGAIN_SECONDS >= 0.05


def test_other_errors_of_callbacks_are_printed_as_before() -> None:
    said: list[Any] = []
    sys.unraisablehook = said.append
    stop_signals.install()

    class Failing:
        def __del__(self) -> None:
            raise ValueError("of another kind")

    failing = Failing()
    del failing
    assert [str(found.exc_value) for found in said] == ["of another kind"]


@pytest.mark.parametrize("stop", [StoppedError(signal.SIGTERM), KeyboardInterrupt()])
def test_one_that_compiled_code_wraps_is_raised_as_itself(stop: BaseException) -> None:
    with pytest.raises(type(stop)) as caught, stop_signals.unwrapped():
        raise SystemError("<cyfunction wait> returned a result with an exception set") from stop
    assert caught.value is stop
    with pytest.raises(SystemError, match="another"), stop_signals.unwrapped():
        raise SystemError("another")


def test_inside_of_a_training_it_waits() -> None:
    stop_signals.install()
    with pytest.raises(StoppedError), deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
        assert isinstance(requested(), StoppedError)


def test_ctrl_c_waits_for_the_step_too_and_a_second_one_does_not() -> None:
    stop_signals.install()
    with pytest.raises(KeyboardInterrupt), deferred():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        assert isinstance(requested(), KeyboardInterrupt)
    reached = []
    with pytest.raises(KeyboardInterrupt), deferred():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        reached.append("after the first")
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
        reached.append("after the second")
    assert reached == ["after the first"]


def test_a_shell_that_ignores_ctrl_c_is_respected() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop_signals.install()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_nohup_is_respected() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop_signals.install()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_the_message_names_the_command_that_resumes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/hardcase", "run", "my config.yaml", "loop.rounds=2"])
    assert cli.say_what_to_mend(StoppedError(15)) == 143
    error = capsys.readouterr().err
    assert "stopped by SIGTERM" in error
    assert "hardcase run 'my config.yaml' loop.rounds=2" in error
    assert cli.say_what_to_mend(KeyboardInterrupt()) == 130
    error = capsys.readouterr().err
    assert "interrupted" in error
    assert "hardcase run 'my config.yaml' loop.rounds=2" in error


def doctor_that_waits() -> None:
    from engine.commands import doctor_command

    def waits(*_: object) -> None:
        print("ready", flush=True)
        time.sleep(60)

    doctor_command.doctor = waits
    command("doctor")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_the_process_exits_with_128_and_the_signal(tmp_path: Path, number: int, code: int) -> None:
    process = Forked(tmp_path / "said.txt", doctor_that_waits)
    while "ready" not in process.said():
        assert process.wait(0.01) is None, process.said()
    process.send(number)
    assert process.wait(60) == code
    assert "goes on where it stopped: hardcase doctor" in process.said()
    assert "Traceback" not in process.said()
