"""`zm-core-sim`: a stand-in for the zm-next worker, for the demo and for tests."""
