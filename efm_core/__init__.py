"""The contracts that all parts of the suite share."""
