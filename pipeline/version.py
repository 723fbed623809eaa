"""The version of hoptrace, said once."""

VERSION = "0.1.0"
