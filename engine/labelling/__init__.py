"""Labels bought while a run goes on: who answers, what counts, how far readers agree."""
