"""The operator's side: commands, and later the HTTP API, metrics and manhole."""
