"""Pure functions of arrays: differences, intervals, p-values, power."""
