"""How a model in one framework is loaded and called: one file a framework."""
