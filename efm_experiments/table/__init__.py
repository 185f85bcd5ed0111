"""Both stages at the simulated table in one process: what most experiments vary."""
