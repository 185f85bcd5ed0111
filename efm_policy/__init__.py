"""The policy: from observation and instruction to action tokens."""
