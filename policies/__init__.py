"""The seven decisions of a round as small registered policies; start at ``policies.base``."""
