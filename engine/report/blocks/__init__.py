"""The sections of a page, one module per section."""
