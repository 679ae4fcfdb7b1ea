"""The paper's printed numbers and claims, and whether they are arithmetically possible."""
