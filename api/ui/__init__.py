"""The page that people see in a browser: rendered here, live by events, with nothing from elsewhere."""
