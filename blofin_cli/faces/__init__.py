"""Bind the commands to people and programs; decide nothing."""
