"""What people see of a search: tables and figures."""
