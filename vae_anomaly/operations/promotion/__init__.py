"""The champion changes only for a better one: comparison, decision, record, and the way back."""
