"""Jenkins: reads the jobs below a URL and their builds."""

from adapters.jenkins.adapter import Jenkins

__all__ = ["Jenkins"]
