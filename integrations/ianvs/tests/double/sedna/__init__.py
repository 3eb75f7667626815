"""Stands in for sedna, of which Ianvs' modules and metrics use the class factory only."""
