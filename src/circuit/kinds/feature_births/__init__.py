"""When features of a temporal crosscoder are born, and whether they are."""
