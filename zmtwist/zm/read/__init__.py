"""Reads of ZoneMinder's rows: monitors and storages, events of ours and of others."""
