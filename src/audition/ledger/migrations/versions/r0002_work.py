"""Events that were moved out, numbers of 64 bits, and the runs that are to be carried."""

import sqlalchemy as sa
from alembic import op

from audition.ledger.database import schema

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """SQLite makes the table of events anew: it changes no column in its place."""
    with op.batch_alter_table("events") as events:
        events.alter_column("data", existing_type=sa.LargeBinary(), nullable=True)
    if op.get_bind().dialect.name == "postgresql":
        for table, column in (
            ("runs", "id"),
            *(("events", name) for name in ("index", "run", "seq")),
        ):
            op.alter_column(table, column, type_=sa.BigInteger())
    schema(revision).tables["work"].create(op.get_bind())
