"""What only tunes or drives Twisted's reactor: Deferreds, loops, threads for blocking work, timers, lag."""
