"""The manhole: a Python prompt inside the running service, over SSH. Off by default; see doc/guide/manhole.md for what it puts at risk."""
