"""Rows and clips brought together again after a crash, and fsck, which only looks."""
