"""What an operator decides: settings, secrets, frequencies, and how logs are written."""
