"""The one exception that a user can cause: a sentence that says what, where, expected, remedy."""


class UserError(Exception):
    """Something that the user can mend; mains print the sentence alone and exit with code 1."""
