"""The flow as data: its definition, how a class is compiled into one, how it is checked and drawn."""
