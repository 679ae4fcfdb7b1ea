"""The paper's printed numbers and claims, and what arithmetic allows of them."""
