"""The store: documents, chunks, segments, jobs and predictions in one SQL database.

SQLite in the index's folder unless told; any other SQLAlchemy URL where a team shares one.
"""
