"""The step, and those who drive it. Awaits ports; imports no framework."""
