"""`zmnextctl`, the operator's command: its verbs, what they print, doctor, and the trial of a monitor."""
