"""Events' pictures: what waits for one, and the child that makes it."""
