"""Cameras taken over from ZoneMinder's own capture daemon, zmc, and given back."""
