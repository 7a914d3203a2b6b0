"""Metrics for Prometheus, and the counters behind some of them."""
