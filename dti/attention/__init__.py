"""Who may read whom, and the attention that obeys it. Knows nothing of data sets, only of a row's structure."""
