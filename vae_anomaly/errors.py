"""Every error this package raises: one base class, one subclass per room."""


class VaeAnomalyError(Exception):
    """Base of everything raised on purpose; its text says what to do next."""


class ConfigError(VaeAnomalyError, ValueError):
    """A setting is missing, unknown or out of range."""


class ReadingsError(VaeAnomalyError, ValueError):
    """Raw input cannot be read as sensor readings."""


class ContractError(VaeAnomalyError, ValueError):
    """Readings do not have the sensors or types that the contract asks for."""


class TrainingError(VaeAnomalyError, ValueError):
    """The readings or the settings do not let a model be fitted."""


class CalibrationError(VaeAnomalyError, ValueError):
    """The held-out readings cannot carry the alert budget asked for."""


class DetectorError(VaeAnomalyError, ValueError):
    """A saved detector is missing, damaged, changed or of another kind."""


class EvaluationError(VaeAnomalyError, ValueError):
    """Scores and labels do not allow the measure asked for."""


class TableError(VaeAnomalyError, ValueError):
    """A table of the lake is missing or cannot be read or written."""


class RegistryError(VaeAnomalyError):
    """The model registry cannot be reached or does not hold what was asked for."""


class PromotionError(VaeAnomalyError):
    """A model version may not become champion, or nothing can be rolled back."""


class ReportError(VaeAnomalyError, ValueError):
    """The report page cannot be made or written."""


class NotifyError(VaeAnomalyError):
    """A channel of notifications is not set up, or nobody can be told through it."""


class AlertingError(VaeAnomalyError, ValueError):
    """An alert, a label or a maintenance window is not there, or cannot become what was asked."""
