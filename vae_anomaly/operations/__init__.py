"""MLflow tracking and registry, and the report page."""
