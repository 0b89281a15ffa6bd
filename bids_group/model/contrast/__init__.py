"""Contrasts: expressions read into records, weighed as rows over the regressors, and said in words."""
