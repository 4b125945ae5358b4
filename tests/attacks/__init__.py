"""The attack suite: what a hostile model may try, each tried in every profile, with real victims that are inspected."""
