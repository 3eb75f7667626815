"""Stands in for sedna.common."""
