"""Clips and their storages: found, measured, brought to the place where ZoneMinder looks, and watched."""
