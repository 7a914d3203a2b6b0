"""ZoneMinder's side: database pools, schema probe, reads, writes, paths."""
