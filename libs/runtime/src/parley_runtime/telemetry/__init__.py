"""Metrics, traces and logs. ``names`` is the registry; everything else imports it."""
