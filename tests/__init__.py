"""The specification: unit and integration tests with real parts."""
