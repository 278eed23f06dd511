"""What README says of time, memory, and what is lost when something goes wrong; run as modules from the root."""
