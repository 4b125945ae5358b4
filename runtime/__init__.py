"""The parent: models, sessions, supervision and environments, in the application's process."""
