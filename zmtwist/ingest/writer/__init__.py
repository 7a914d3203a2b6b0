"""Changes on their way into the database: the queue, group commit, and the spool on disk for outages."""
