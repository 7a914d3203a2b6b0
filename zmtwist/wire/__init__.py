"""Bytes to messages and back: the worker's stream socket (framing, typed messages, the protocol, the link)."""
