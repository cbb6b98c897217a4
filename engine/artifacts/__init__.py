"""Every file we write: its record, its reader, its writer. No torch."""
