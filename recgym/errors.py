"""The one exception that a user can cause: a sentence that says what, where, expected, remedy."""


class UserError(Exception):
    """Something that the user can mend; mains print the sentence alone and exit with code 1."""


def at_least_1(name: str, value: object) -> None:
    """Raise where a setting is not a whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{name}={value}: expected a whole number of at least 1.")
