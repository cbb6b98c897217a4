"""What the server of tests/processes.py imports before it forks: a run's modules, those imported late as well."""

import engine.build
import engine.commands.run_command
import engine.commands.tune_command  # noqa: F401
