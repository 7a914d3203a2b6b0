"""Media for browsers: clips and pictures of events, clips as MP4, live view."""
