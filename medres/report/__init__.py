"""Pages, tables and figures that people read."""
