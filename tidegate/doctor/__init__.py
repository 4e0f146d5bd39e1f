"""What may be wrong with an installation, looked at without changing anything."""

from tidegate.doctor.examination import examine
from tidegate.doctor.finding import Finding

__all__ = ["Finding", "examine"]
