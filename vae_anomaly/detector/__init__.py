"""The saved whole: detector, scoring, thresholds, alert events, baseline, health."""
