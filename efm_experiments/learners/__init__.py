"""Learners of stage 2 and reward models beside the suite's own."""
