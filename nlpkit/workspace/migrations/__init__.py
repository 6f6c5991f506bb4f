"""The steps by which a workspace's tables came to be, run by Alembic."""
