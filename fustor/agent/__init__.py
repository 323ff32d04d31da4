"""The agent's shell: logs in to Fusion and keeps the payloads of its sources running. Touches no data."""
