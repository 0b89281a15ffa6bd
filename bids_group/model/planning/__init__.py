"""Plans: which maps are the rows of which model, as the nodes and edges of a Stats Model say."""
