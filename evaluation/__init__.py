"""How good answers are, measured: 40 labelled questions over the project's own documents. Run by `make eval`."""
