"""The HTTP API: routes, what they answer, the event stream, and the status page."""
