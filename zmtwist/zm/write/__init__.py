"""Writes to ZoneMinder's rows: batches of changes to events, monitors' status and capture setting."""
