"""Adapters: each fulfils one port; they are strangers to one another."""
