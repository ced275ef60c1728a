"""Summaries, reports and robustness of finished runs, from their folders alone."""
