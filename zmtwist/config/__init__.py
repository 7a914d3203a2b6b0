"""The operator's file and ZoneMinder's own: read, checked, and settled for this host."""
