"""Connections to ZoneMinder's database: pool, dialects, schema, rights, errors, the embedded SQLite."""
