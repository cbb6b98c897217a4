"""One file a stage: config section + input folders -> output folder."""
