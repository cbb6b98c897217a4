"""How fast the engine's parts are beside what one would write without it: one module per row."""
