"""What is decided: pure functions and records of the trade. No clock, files, network or logging."""
