"""Market history behind one port."""
