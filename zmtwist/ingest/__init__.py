"""Worker events to changes to committed rows, and clips into ZoneMinder's tree."""
