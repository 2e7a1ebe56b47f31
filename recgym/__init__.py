"""RecGym: from a shop's log to a valued policy."""
