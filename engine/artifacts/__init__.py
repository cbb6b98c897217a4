"""Every file the engine writes: one module per file or stage folder, each with its record, ``read``, ``write``, schema."""
