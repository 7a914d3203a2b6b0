"""Restarts that lose nothing of a recording: at a clip's end, or with a standby worker that is connected already."""
