"""Where rounds are logged: the Tracker protocol, and MLflow behind an outbox that outlives a dead server."""
