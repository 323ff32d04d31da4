"""Fusion's shell: hears agents and operators, and keeps views and query workers running. Touches no data."""
