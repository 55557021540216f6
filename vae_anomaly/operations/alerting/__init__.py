"""What becomes of alert events: status, silence, labels, and what they teach."""
