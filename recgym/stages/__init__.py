"""The first two stages of the loop, `log` and `model`, kept under the hash of what decides them.

A log or a fit whose settings and input have not changed is opened, not made again.
"""
