"""Trials of a real worker, with RTSP cameras whose picture tells the time; what is judged is what is recorded (README, Trials)."""
