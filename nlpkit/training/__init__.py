"""Training: recipes, readers, the multi-task trainer (needs the extra ``train``)."""
