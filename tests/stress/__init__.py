"""A long run under fire: ``make stress``, a million calls while workers and applications are killed."""
