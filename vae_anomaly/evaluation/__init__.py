"""Measures of scores and alert events against labelled truth."""
