"""The face of Tidegate: the command line, the daemon that composes the parts, and the demo."""
