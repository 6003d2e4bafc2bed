"""The bench of the live dashboard, in a real browser; and the harness, which its tests use too."""
