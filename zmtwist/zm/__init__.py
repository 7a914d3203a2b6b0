"""ZoneMinder's side: its database (db), reads and writes of its rows, and the paths of its events."""
