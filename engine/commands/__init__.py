"""What the commands of `hardcase` do, one module a command; `engine.cli` only parses their arguments."""
