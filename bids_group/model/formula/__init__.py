"""Formulas: read into terms behind an allow-list, and coded as regressors."""
