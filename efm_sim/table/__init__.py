"""The simulated table: scene, tasks, demonstrator, and its MuJoCo world."""
