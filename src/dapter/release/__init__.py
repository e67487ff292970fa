"""Make signed, public releases of a converter, and say what changed between two. The format: docs/release_format.md."""
