"""A monitor and its zones to a worker's document. No I/O."""
