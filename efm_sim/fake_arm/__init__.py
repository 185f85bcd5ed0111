"""A simulated hardware driver with latency, limits, lost commands and a watchdog."""
