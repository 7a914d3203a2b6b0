"""What others say, before it is used: bounds, guarded texts, redaction, and a budget for each monitor."""
