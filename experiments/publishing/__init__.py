"""The protocol of a published comparison, and the layouts of the logs that it was run on."""
