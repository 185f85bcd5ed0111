"""Both stages on several tasks of Meta-World with one policy, in one process."""
