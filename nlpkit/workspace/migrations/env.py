"""What Alembic runs: the steps, on the connection that nlpkit.store.database hands over."""

from alembic import context

from nlpkit.workspace.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,  # the transaction is the caller's
)
context.run_migrations()
