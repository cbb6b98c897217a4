"""Where Ray is: finds the head an address means, proves within seconds that it answers, and connects."""

from __future__ import annotations

import os
import re
import socket
from typing import Any

from engine.artifacts.machine_faults import mendable
from engine.errors import ConfigError
from engine.execution import stop_signals
from engine.execution.ray_folder import session_folder

PROBE_SECONDS = 5.0
DEFAULT_PORTS = {"ray": 10001, "": 6379}
AUTO = "auto"
"""The address that means the head of the cluster this node belongs to."""


def connect(address: str | None, num_cpus: int | None = None) -> None:
    """Start Ray in this machine, or join ``address`` after a TCP probe (`ray.init` would hang for minutes).

    ``num_cpus`` is what a Ray started here may use, None: every core.

    Raises:
        ConfigError: nothing answers at ``address``, or what does is no Ray head, or Ray does not start here.
    """
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    quiet = {"logging_level": "ERROR", "log_to_driver": False}
    with stop_signals.kept():  # Ray puts handlers of its own in place, which end without a word
        if address is None:
            _start_here(num_cpus, quiet)
        else:
            probe(address)
            try:
                ray.init(
                    address=address, **quiet
                )  # not what was found: Ray takes this node's token for auto alone
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise ConfigError(
                    f"backend.address: {address} did not accept the connection ({first_line(error)}); where the cluster "
                    "asks for a token set RAY_AUTH_MODE=token, or give auto on one of its nodes"
                ) from None
    _quiet_data()


def _start_here(num_cpus: int | None, options: dict[str, Any]) -> None:
    """Start Ray in this machine, never joining a stale cluster whose address was left over."""
    import ray

    folder = session_folder()
    place = {} if folder is None else {"_temp_dir": folder}
    try:
        ray.init(address="local", include_dashboard=False, num_cpus=num_cpus, **place, **options)
    except (OSError, RuntimeError, ValueError, TimeoutError) as error:
        found = mendable(error, "Ray did not start here")
        if found is not None:
            raise found from None
        raise ConfigError(
            f"backend.kind: ray did not start here ({first_line(error)}); its logs lie below "
            f"{folder or 'the folder of RAY_TMPDIR or TMPDIR'}; mend that, or give backend.kind=local"
        ) from None


def probe(address: str) -> str:
    """Return the address of the Ray head that ``address`` means, once it has accepted a connection.

    Raises:
        ConfigError: it is no address, no head runs on this node (auto), or nothing accepts within PROBE_SECONDS.
    """
    found = head_here() if address == AUTO else address
    if found is None:
        raise ConfigError(
            "backend.address: auto, but no Ray head runs on this node; start one (`ray start --head`), give its "
            "host:6379, or leave backend.address out to start Ray here"
        )
    shown = address if found == address else f"{address} (here {found})"
    match = re.fullmatch(
        r"(?:(?P<scheme>ray)://)?(?P<host>\[[^\]]+\]|[^:/\s]+)(?::(?P<port>\d{1,5}))?", found
    )
    if match is None:
        raise ConfigError(
            f"backend.address: {found!r} is no address; give host:6379, ray://host:10001 or auto"
        )
    host, scheme = match["host"].strip("[]"), match["scheme"] or ""
    port = int(match["port"] or DEFAULT_PORTS[scheme])
    try:
        with socket.create_connection((host, port), timeout=PROBE_SECONDS):
            return found
    except (OSError, OverflowError, UnicodeError) as error:
        raise ConfigError(
            f"backend.address: {shown} does not answer ({error}); start the cluster (`ray up ray_cluster.yaml`, "
            "or `ray start --head`), or leave backend.address out to start Ray here"
        ) from None


def head_here() -> str | None:
    """Return the head's address as Ray itself finds it: RAY_ADDRESS, a Ray process here, the last `ray start`'s note.

    None where there is none; the note may be a stopped cluster's, so the address still has to be probed.
    """
    from ray._private.services import get_ray_address_from_environment

    try:
        found: str = get_ray_address_from_environment(AUTO, None)
    except ConnectionError:
        return None
    return found


def check_gpus(asked: float, there: float) -> None:
    """Refuse a share of GPUs that no node could give (ConfigError)."""
    if asked > there:
        raise ConfigError(
            f"backend.gpus_per_worker: {asked:g} asked for, the cluster has {there:g} GPUs in all; "
            "lower it, or start GPU nodes"
        )


def first_line(error: BaseException) -> str:
    """Return the first line of a message, the error's name where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _quiet_data() -> None:
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
