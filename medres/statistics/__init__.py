"""Statistics as pure functions of arrays: differences, intervals, p-values, power."""
